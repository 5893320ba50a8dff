"""A ResNet's training step on a CUDA device in bf16: fewer passes over memory than torch's layers make.

At 224 px and 32 images a step is bound by memory and by the number of its kernels more than by arithmetic. Here batch
normalisation, what is added to it and its rectifier are one pass instead of three, the first convolution is one matrix
product, filters are cast all at once, and their gradients are computed beside the chain of the others.
"""
