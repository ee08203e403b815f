"""Students: smaller networks that are cut out of the fine-tuned one, and then learn from it."""

from components.compress.students.making import check_space, make_student

__all__ = ["check_space", "make_student"]
