from ntk_atlas.page.contents import MOST_CELLS as MOST_CELLS
from ntk_atlas.page.contents import experiment_contents as experiment_contents
from ntk_atlas.page.contents import study_contents as study_contents
from ntk_atlas.page.html import library_scripts as library_scripts
from ntk_atlas.page.html import page_of as page_of
