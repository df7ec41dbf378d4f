"""A world of people, machines and attackers, whose sign-ins a policy can be tried and a model trained on.

`World` is who lives in it, `moves` what they try, `Service` whoever answers them: the real engine (`run`), or a door
that lets everybody in (`OpenDoor`), for those who want attempts alone.
"""
