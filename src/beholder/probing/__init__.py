"""Which layer of a network knows which attribute of an image: linear probes on frozen features."""
