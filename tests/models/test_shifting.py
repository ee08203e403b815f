import torch

from components.models.shifting import shifted


def test_each_image_moves_by_its_own_pixels_and_the_background_comes_in() -> None:
    images = torch.arange(24.0).reshape(2, 3, 4)
    moved = shifted(images, torch.tensor([[1, 0], [0, -2]]), most=2, background=-1.0)
    assert moved[0].tolist() == [[-1] * 4, [0, 1, 2, 3], [4, 5, 6, 7]]
    assert moved[1].tolist() == [[14, 15, -1, -1], [18, 19, -1, -1], [22, 23, -1, -1]]


def test_gradient_goes_back_to_the_pixel_that_was_moved() -> None:
    images = torch.zeros(1, 2, 2, requires_grad=True)
    shifted(images, torch.tensor([[0, 1]]), most=1, background=0.0)[0, 1, 1].backward()
    assert images.grad is not None
    assert images.grad.tolist() == [[[0, 0], [1, 0]]]


def test_images_stay_where_no_move_is_allowed() -> None:
    images = torch.rand(2, 3, 4)
    assert shifted(images, torch.zeros(2, 2), most=0, background=0.0) is images
