"""The part of the ``ctfy`` package that reference exploits import, and nothing else."""
