"""What challenge authors import: see :mod:`ctfy.challenge.exploit`."""
