import mcgen

project = "mcgen"
author = "the mcgen developers"
copyright = "2026, the mcgen developers"
version = release = mcgen.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "numpydoc"]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"mcgen {release}"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
