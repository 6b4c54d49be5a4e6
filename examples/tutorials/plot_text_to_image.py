"""
A text-to-image pipeline with prompts
=====================================

After this tutorial you can measure a diffusers pipeline, unmodified, over many prompts. You
learn to tell what a score says about these prompts from what it says about prompts like
them, and whether more prompts or more images would narrow the interval.
"""

# %%
# A pipeline
# ----------
#
# To run anywhere, without a download, the example builds a ``StableDiffusionPipeline`` with
# tiny networks. **Its weights are random, and its images are meaningless.** All else is as
# with a real one: for yours, replace this block by these lines.
#
# .. code-block:: python
#
#     pipe = diffusers.StableDiffusionPipeline.from_pretrained(
#         "NAME or folder", torch_dtype=torch.float16
#     ).to("cuda")

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers

transformers.utils.logging.set_verbosity_error()  # it warns of parts not used here

import diffusers

torch.manual_seed(0)
letters = [chr(i) for i in range(33, 127)]
words = [*letters, *(x + "</w>" for x in letters), "<|startoftext|>", "<|endoftext|>"]
with tempfile.TemporaryDirectory() as folder:
    vocabulary, merges = Path(folder, "vocab.json"), Path(folder, "merges.txt")
    vocabulary.write_text(json.dumps({word: i for i, word in enumerate(words)}))
    merges.write_text("#version: 0.2\n")
    tokenizer: Any = transformers.CLIPTokenizer(
        str(vocabulary), str(merges), model_max_length=32
    )

text_encoder = transformers.CLIPTextModel(
    transformers.CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=32,
        bos_token_id=len(words) - 2,
        eos_token_id=len(words) - 1,
    )
).eval()
unet = diffusers.UNet2DConditionModel(
    sample_size=8,
    layers_per_block=1,
    block_out_channels=(8,),
    norm_num_groups=4,
    cross_attention_dim=16,
    attention_head_dim=4,
    down_block_types=("CrossAttnDownBlock2D",),
    up_block_types=("CrossAttnUpBlock2D",),
).eval()
vae = diffusers.AutoencoderKL(
    block_out_channels=(8, 8),
    down_block_types=("DownEncoderBlock2D",) * 2,
    up_block_types=("UpDecoderBlock2D",) * 2,
    norm_num_groups=4,
    latent_channels=4,
).eval()
pipe: Any = diffusers.StableDiffusionPipeline(
    vae,
    text_encoder,
    tokenizer,
    unet,
    diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
    safety_checker=None,
    feature_extractor=None,
    requires_safety_checker=False,
)
pipe.set_progress_bar_config(disable=True)

# %%
# The pipeline as a generator
# ---------------------------
#
# A pipeline draws its noise inside. ``capture`` records the draws of a function of n and a
# prompt, and lets mcgen draw them instead. ``modules`` names the networks, and
# ``condition`` is a prompt to try it with.

import mcgen
from mcgen.adapters import capture


def sampler(n: int, prompt: Any) -> Any:
    """Return n images of one prompt, shape (n, 3, height, width) in [0, 1]."""
    return pipe(
        [prompt] * n, num_inference_steps=2, guidance_scale=5.0, output_type="pt"
    ).images


generator = capture(
    sampler, condition="a cat", modules=[unet, vae, text_encoder], name="tiny pipeline"
)
print(generator.describe())

# %%
# The list shows what the pipeline draws: here its initial latents, and nothing else. A
# DDIM, DDPM, DiT or StableDiffusion pipeline can also be read by
# ``mcgen.adapters.from_pipeline(pipe, steps=2, guidance_scale=5.0)``. Its images are the
# same up to rounding; it is faster, and ``design="auto"`` can do more with it. ``capture``
# takes any pipeline.
#
# Prompts by name
# ---------------
#
# The prompts come from three templates. A dictionary gives each a short name, which tables
# and figures show.

animals = ["cat", "dog", "fox", "owl"]
templates = {
    "photo": "a photo of a {}",
    "oil": "an oil painting of a {} in the rain",
    "sketch": "{}, pencil sketch",
}
prompts = {
    f"{style}, {animal}": text.format(animal)
    for style, text in templates.items()
    for animal in animals
}
print(len(prompts), "prompts, such as", repr(prompts["oil, fox"]))

# %%
# The score is how red an image is: the mean of its red channel minus that of the others. A
# score that needs the prompt, such as the similarity of a CLIP model, takes it as the
# second argument of ``as_statistic(f, uses_condition=True)``.


def red_of(images: Any) -> Any:
    """Return the red excess of n images, shape (n,)."""
    return images[:, 0].mean((1, 2)) - images[:, 1:].mean((1, 2, 3))


redness = mcgen.as_statistic(red_of, name="redness")

# %%
# These prompts
# -------------
#
# Each prompt gets 50 images, in pairs of noise z and -z. A store keeps what was run, in a
# file; here it is a temporary one.

store = Path(tempfile.mkdtemp(), "images.sqlite")
run: dict[str, Any] = dict(
    design=mcgen.Antithetic(), n_evaluations=50, seed=0, condition=prompts
)
average = mcgen.estimate(generator, redness, store=store, **run)
print(average)

# %%
# That is the average over exactly these prompts. ``average["oil, fox"]`` is the estimate of
# one of them, and the plot shows them all.

figure = average.plot()
figure

# %%
# Prompts like these
# ------------------
#
# Users will write other prompts. If these are a sample of what they write, ask for the
# population. The interval then counts that other prompts would have been drawn. The store
# has all images that this needs, so the pipeline does not run again.

population = mcgen.estimate(generator, redness, across="population", store=store, **run)
print(population)
parts = population.variance_components
assert parts is not None  # only a population has them
print(parts.advice(population.names))

# %%
# Prompts of a template are alike. If the templates are a sample too, say which prompt
# belongs to which: ``clusters=`` takes a label for each prompt. Three templates count for
# less than twelve prompts that were written one by one. mcgen warns that three are too few
# to know how much templates differ. The warning stays with the result.

import warnings

labels = [name.split(",")[0] for name in prompts]
with warnings.catch_warnings():
    warnings.simplefilter("ignore", mcgen.CoverageWarning)  # the result keeps it
    clustered = mcgen.estimate(
        generator,
        redness,
        across="population",
        clusters=labels,
        store=store,
        **run,
    )
print(clustered)
print(clustered.warnings[0])

# %%
# Compare the three half-widths. The estimate is the same number in each, since all
# templates have as many prompts; what differs is the claim.

for claim, result in (
    ("on these prompts", average),
    ("on prompts like these", population),
    ("on templates like these", clustered),
):
    print(f"{claim:24} {result.mean:.4f}, half-width {result.half_width:.4f}")

# %%
# Another guidance scale
# ----------------------
#
# Two settings of a pipeline take the same noise and the same prompts. Their difference is
# known better than either of them.


def guided_more(n: int, prompt: Any) -> Any:
    """Return n images of one prompt, with a larger guidance scale."""
    return pipe(
        [prompt] * n, num_inference_steps=2, guidance_scale=9.0, output_type="pt"
    ).images


more = capture(
    guided_more, condition="a cat", modules=[unet, vae, text_encoder], name="scale 9"
)
difference = mcgen.difference(more, generator, redness, across="population", **run)
print(difference)

# %%
# Where to go next
# ----------------
#
# - :doc:`/how-to/many-conditions`: populations, clusters, and how many images a prompt
#   needs.
# - :doc:`/how-to/adapters`: what ``capture`` supports, and ``from_pipeline``.
# - :doc:`/how-to/devices`: pipelines on one GPU or several.
# - :doc:`/how-to/compare-checkpoints`: several pipelines by several scores.
