"""A simulated world of people, machines and attackers, for trying policies and training models on its sign-ins.

`World` holds its inhabitants; visits yield moves, which are what they try. A `Service` answers them: the real engine
(`run`), or `OpenDoor`, which lets everybody in, for code that needs only the attempts.
"""
