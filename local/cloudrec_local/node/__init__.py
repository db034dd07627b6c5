"""A node of the embedded cluster whose containers are processes of this machine.

It stands where kubelet and a container runtime would: it registers a Node, runs the Pods that the real scheduler binds
to it, and reports their status in kubelet's words. What a file system and a network of its own would give a container
is given by other means: every mount path in the environment, the command and the arguments is rewritten to the folder
that holds the volume (`rewrite`), and each Pod has an address of its own in 127.0.0.0/8.
"""
