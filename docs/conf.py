import sys
from pathlib import Path

import mcgen

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "mcgen"
author = "the mcgen developers"
copyright = "2026, the mcgen developers"
version = release = mcgen.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    # MathJax itself, so that formulas show without a connection.
    "sphinx-mathjax-offline",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["_build", "**/GALLERY_HEADER.rst"]
templates_path = ["_templates"]
default_role = "py:obj"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False

# Prompts and printed results stay out of what the button copies.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": ["../examples/tutorials", "../examples/gallery"],
    "gallery_dirs": ["tutorials", "gallery"],
    "filename_pattern": r"plot_",
    "image_scrapers": ("figures.figure_scraper",),
    # A notebook shows a figure that ends a block; a page shows it by the scraper.
    "ignore_repr_types": r"matplotlib\.figure",
    "first_notebook_cell": "%matplotlib inline",
    "reset_modules": (),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 1e9,
    "within_subsection_order": "FileNameSortKey",
    "remove_config_comments": True,
}

html_theme = "pydata_sphinx_theme"
html_title = f"mcgen {release}"
html_static_path = ["_static"]
html_css_files = ["mcgen.css"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "mcgen"},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 7,
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
}
# The landing page and pages without a section have no navigation of their own.
html_sidebars = {"index": [], "faq": [], "get-started": []}
