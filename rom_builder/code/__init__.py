"""Evidence from programs: what their bytecode does, found from the anchors of a profile.

Nothing here is a proof about all that a program can do: reflection, native code and what a server
says at run time are not seen. What was not followed is said, and makes the answer unknown.
"""
