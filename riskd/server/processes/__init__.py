"""The processes of a service: a supervisor (`supervisor`, `tree`), its workers (`worker`), and a monitor (`http`)."""
