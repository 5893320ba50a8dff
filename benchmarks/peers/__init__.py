"""Training beside peers that do the same work, from a folder of PNG files to saved weights, on the CPU or a GPU.

    uv run --with timm --with lightning --with fastai python -m benchmarks.peers [--device cuda]

The work: a folder of grey PNG images with one sub-folder per class (our phantom's, at the size that the network sees);
a ResNet from scratch with two outputs; rotation by any angle, flip, zoom, shift and gamma, drawn anew for every image;
AdamW with one cycle of the learning rate; the same batch size and number of epochs; the weights on disk at the end.
Every contestant trains twice: as it is documented to be used, in fp32, and in the best way for the device that it
documents, which is bf16 for all of them where the device has it, and fp32 where it has none. With `--settings
default,best,compiled` torchvision's loop and timm train a third time, compiled in the best setting.
Each measurement is a process of its own, so that start and imports count in the whole job; contestants take turns,
round by round. `torch_parts.py` and the contestants' modules say what each setting is and where it is recommended.

What is not equal:

- Peers without our reflected borders and cubic interpolation resample linearly, torchvision with black corners. fastai
  reflects as well. Ours is the dearer one.
- Peers decode every image in every epoch, in worker processes where they have them; ours decodes once. That is how each
  of them works, and what it costs is part of the comparison; their workers' memory is not counted.
- torchvision and Lightning train on three equal channels, because their loaders and networks do; timm and fastai have a
  setting for one channel, which ours uses, too.
- Ours measures batch normalisation's statistics anew after the last epoch (`train.recalibrate`), one more forward pass
  within the whole job, and saves with a checksum and fsync. Nobody validates, nobody saves before the end.
- timm has no one-cycle schedule: linear warm-up and cosine, of the same length and rates. The others' cycle momentum,
  too, ours does not.
- Unasked nobody compiles the network: torch.compile wants a C++ compiler, and a minute or more before the first step,
  in every job here, since none finds what another has compiled.
- On a GPU fp32 is what torch makes of it unasked, products in convolutions in TF32; ours takes TF32 never.
  torchvision's script, timm's and fastai wait for the GPU after every step, to read the loss, as they do by themselves;
  Lightning and ours once an epoch. Memory is that of the GPU's tensors.
"""
