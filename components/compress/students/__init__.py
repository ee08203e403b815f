"""Students: smaller networks that are cut out of the fine-tuned one, and then learn from it."""

from components.compress.students.making import make_student

__all__ = ["make_student"]
