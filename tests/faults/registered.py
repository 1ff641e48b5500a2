"""Makes the study of ``breaking`` known by its name; only processes that are forked for it import this."""

from faults.breaking import STUDY

from maskwise.studies import studies

studies.register(STUDY.name, title=STUDY.title)(STUDY)
