import pytest

pytest.register_assert_rewrite("tests.serving.page.every_task")
