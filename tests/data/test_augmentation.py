from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm.data import (
    Compose,
    CutMix,
    Cutout,
    DataLoader,
    GaussianNoise,
    Mixup,
    RandomCrop,
    RandomFlip,
    RandomRotation,
    RandomShift,
)
from tinygrad_norm.data.augmentation import rotate

transforms = [
    RandomCrop(2),
    RandomCrop(2, "reflect"),
    RandomShift(3),
    RandomFlip(),
    RandomRotation(30),
    Cutout(4),
    GaussianNoise(0.1),
    Compose([RandomFlip(), RandomCrop(1, "edge"), GaussianNoise(0.1)]),
]
mixes = [Mixup(0.7, 5), CutMix(1.0, 5)]


def dot(n: int = 1, size: int = 7, row: int = 3, column: int = 3) -> np.ndarray:
    """Images that are zero but for one pixel."""
    images = np.zeros((n, 2, size, size), np.float32)
    images[:, :, row, column] = 1
    return images


# What holds for all


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("transform", transforms, ids=repr)
def test_a_transform_keeps_shape_and_type_and_leaves_its_input_alone(rng, transform, dtype):
    images = rng.random((6, 3, 9, 8)).astype(dtype)
    before = images.copy()
    images.flags.writeable = False
    changed = transform(images, rng)
    assert changed.shape == images.shape
    assert changed.dtype == dtype
    assert not np.shares_memory(changed, images)
    assert not np.array_equal(changed, images)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("transform", transforms, ids=repr)
def test_the_generator_decides(rng, transform):
    images = rng.random((6, 3, 9, 8), np.float32)
    one, same, other = (transform(images, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("transform", transforms, ids=repr)
def test_each_image_is_changed_for_itself(rng, transform):
    image = rng.random((1, 3, 9, 8), np.float32)
    changed = transform(np.repeat(image, 20, axis=0), rng)
    assert len({one.tobytes() for one in changed}) > 1


@pytest.mark.parametrize("transform", [t for t in transforms if not isinstance(t, Compose)], ids=repr)
@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.zeros((3, 8, 8)), ValueError, r"images are \(N, C, H, W\), got shape \(3, 8, 8\)"),
        (np.zeros((3, 64)), ValueError, r"got shape \(3, 64\)"),
        ([[0.0]], TypeError, "the batch of images is a NumPy array, got list"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(rng, transform, images, error, message):
    with pytest.raises(error, match=f"{type(transform).__name__}: .*{message}"):
        transform(images, rng)


@pytest.mark.parametrize("transform", [RandomCrop(1), RandomShift(1), RandomFlip(), Cutout(2)], ids=repr)
def test_moving_pixels_takes_any_type(rng, transform):
    images = rng.integers(256, size=(3, 1, 4, 4), dtype=np.uint8)
    assert transform(images, rng).dtype == np.uint8


@pytest.mark.parametrize("transform", [RandomRotation(5), GaussianNoise(0.1)], ids=repr)
def test_arithmetic_takes_floats_alone(rng, transform):
    with pytest.raises(TypeError, match="images are of floating point, got uint8"):
        transform(np.zeros((3, 1, 4, 4), np.uint8), rng)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: RandomCrop(-1), ValueError, "RandomCrop: padding is an integer of at least 0, got -1"),
        (lambda: RandomCrop(1.5), TypeError, "RandomCrop: padding is an integer"),
        (
            lambda: RandomCrop(1, "wrap"),
            ValueError,
            "RandomCrop: mode is 'constant' or 'edge' or 'reflect', got 'wrap'",
        ),
        (lambda: RandomShift("2"), TypeError, "RandomShift: pixels is an integer"),
        (lambda: RandomFlip(1.5), ValueError, "RandomFlip: p is a number from 0 to 1, got 1.5"),
        (lambda: RandomRotation(-10), ValueError, "RandomRotation: degrees is a number from 0 to 180, got -10"),
        (lambda: RandomRotation(float("nan")), ValueError, "RandomRotation: degrees is .* got nan"),
        (lambda: Cutout(0), ValueError, "Cutout: size is an integer of at least 1, got 0"),
        (lambda: GaussianNoise(-0.1), ValueError, "GaussianNoise: std is a finite number of at least 0, got -0.1"),
        (lambda: GaussianNoise(True), TypeError, "GaussianNoise: std is a finite number"),
        (lambda: Mixup(0, 10), ValueError, "Mixup: alpha is a finite number above 0; without mix=, nothing is mixed"),
        (lambda: Mixup(-1, 10), ValueError, "Mixup: alpha is a finite number above 0"),
        (lambda: CutMix(1.0, 1), ValueError, "CutMix: num_classes is an integer of at least 2, got 1"),
        (lambda: CutMix(1.0, None), TypeError, "CutMix: num_classes is an integer"),
        (lambda: Compose([RandomFlip(), "crop"]), TypeError, "Compose: a transform is callable, got 'crop'"),
    ],
)
def test_impossible_arguments_are_refused_at_once(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_they_tell_what_they_are():
    assert repr(Compose([RandomCrop(4), RandomFlip()])) == (
        "Compose([RandomCrop(padding=4, mode='constant'), RandomFlip(p=0.5)])"
    )
    assert repr(Mixup(0.2, 10)) == "Mixup(alpha=0.2, num_classes=10)"
    assert RandomCrop(4) == RandomCrop(4) != RandomCrop(4, "edge")


# Each by itself


def test_compose_goes_in_order_with_one_generator(rng):
    images = rng.random((4, 1, 6, 6))
    crop, noise = RandomCrop(2), GaussianNoise(0.1)
    one, other = np.random.default_rng(3), np.random.default_rng(3)
    np.testing.assert_array_equal(Compose([crop, noise])(images, one), noise(crop(images, other), other))
    assert Compose([])(images, rng) is images


def test_shift_moves_a_pixel_to_each_place_in_reach_as_often():
    moved = RandomShift(2)(dot(5000), np.random.default_rng(0))
    assert (moved.sum(axis=(2, 3)) == 1).all()
    counts = moved[:, 0].sum(axis=0)
    np.testing.assert_array_equal(counts[1:6, 1:6] > 0, True)
    assert counts[1:6, 1:6].sum() == 5000
    np.testing.assert_allclose(counts[1:6, 1:6], 5000 / 25, rtol=0.3)  # 4 standard deviations of 14
    np.testing.assert_array_equal(moved[:, 0], moved[:, 1])


def test_crop_takes_one_window_of_the_padded_image(rng):
    images = rng.random((30, 2, 4, 5))
    for mode in ("constant", "edge", "reflect"):
        cropped = RandomCrop(2, mode)(images, rng)
        corners = set()
        for image, window in zip(images, cropped, strict=True):
            padded = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode=mode)
            fits = [
                (y, x) for y in range(5) for x in range(5) if np.array_equal(padded[:, y : y + 4, x : x + 5], window)
            ]
            assert fits
            corners.add(fits[0])
        assert len(corners) > 5


def test_no_padding_changes_nothing(rng):
    images = rng.random((3, 1, 4, 5))
    np.testing.assert_array_equal(RandomCrop(0)(images, rng), images)
    np.testing.assert_array_equal(RandomShift(0)(images, rng), images)


def test_a_mirror_gives_no_more_than_the_image(rng):
    images = rng.random((2, 1, 4, 9))
    assert RandomCrop(3, "reflect")(images, rng).shape == images.shape
    with pytest.raises(ValueError, match="RandomCrop: 4×9 images mirrored give less than 4 pixels of padding"):
        RandomCrop(4, "reflect")(images, rng)


def test_flip_mirrors_left_to_right_as_often_as_asked(rng):
    images = np.arange(12.0).reshape(1, 1, 3, 4).repeat(4000, axis=0)
    mirrored = images[0, :, :, ::-1]
    np.testing.assert_array_equal(RandomFlip(1)(images[:2], rng), [mirrored] * 2)
    np.testing.assert_array_equal(RandomFlip(0)(images[:2], rng), images[:2])
    flips = (RandomFlip(0.3)(images, rng) == mirrored).all(axis=(1, 2, 3))
    np.testing.assert_allclose(flips.mean(), 0.3, atol=0.03)  # 4 standard deviations of 0.007


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 4, -1])
@pytest.mark.parametrize("size", [5, 6])
def test_quarter_turns_are_those_of_numpy(rng, turns, size):
    images = rng.random((3, 2, size, size))
    turned = rotate(images, np.full(3, 90.0 * turns))
    np.testing.assert_allclose(turned, np.rot90(images, turns, axes=(2, 3)), rtol=0, atol=1e-12)


def test_images_turn_each_by_their_own_angle(rng):
    images = rng.random((3, 1, 5, 5))
    turned = rotate(images, np.array([0.0, 90.0, 180.0]))
    for number in range(3):
        np.testing.assert_allclose(turned[number], np.rot90(images[number], number, axes=(1, 2)), atol=1e-12)


def test_an_eighth_of_a_turn_by_hand():
    """The corners of the 3×3 square lie √2 from its centre, the turned middle of the edges at 1/√2 off both axes."""
    image = np.zeros((1, 1, 3, 3))
    image[0, 0, 1, 2] = 1  # the middle of the right edge goes up and to the left, toward the upper right corner
    turned = rotate(image, np.array([45.0]))[0, 0]
    near = np.sqrt(0.5)
    expected = np.zeros((3, 3))
    expected[0, 2] = 1 - (np.sqrt(2) - 1)  # comes from (0, √2): √2 − 1 beyond the pixel at 1
    expected[0, 1] = expected[1, 2] = near * (1 - near)  # come from (∓1/√2, 1/√2)
    np.testing.assert_allclose(turned, expected, atol=1e-12)


def test_turning_interpolates_a_plane_exactly_inside():
    y, x = np.mgrid[-8:9, -8:9].astype(float)
    plane, angle = (0.3 * x - 0.7 * y)[None, None], np.deg2rad(20)
    turned = rotate(plane, np.array([20.0]))[0, 0]
    source_x, source_y = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
    inside = np.hypot(x, y) <= 8
    np.testing.assert_allclose(turned[inside], (0.3 * source_x - 0.7 * source_y)[inside], atol=1e-12)


def test_rotation_stays_within_its_degrees():
    """A pixel to the right of the centre turns by the angle that its centre of mass tells."""
    turned = RandomRotation(30)(dot(500, 21, 10, 18).astype(np.float64), np.random.default_rng(0))[:, 0]
    y, x = np.mgrid[-10:11, -10:11]
    angles = np.rad2deg(np.arctan2(-(turned * y).sum(axis=(1, 2)), (turned * x).sum(axis=(1, 2))))
    assert -32 < angles.min() < -25
    assert 25 < angles.max() < 32
    assert abs(angles.mean()) < 3.2  # 4 standard deviations of 30/√3/√500
    np.testing.assert_array_equal(RandomRotation(0)(dot(), np.random.default_rng(0)), dot())


@pytest.mark.parametrize("size", [1, 4, 5])
def test_cutout_clears_one_square_around_a_pixel_of_the_image(size):
    images = np.ones((2000, 2, 8, 9), np.float32)
    cut = Cutout(size)(images, np.random.default_rng(0)) == 0
    np.testing.assert_array_equal(cut[:, 0], cut[:, 1])
    rows, columns = cut[:, 0].any(axis=2), cut[:, 0].any(axis=1)
    np.testing.assert_array_equal(cut[:, 0], rows[:, :, None] & columns[:, None, :])
    for covered, length in ((rows, 8), (columns, 9)):
        counts = covered.sum(axis=1)
        assert counts.min() == -(-size // 2)  # around the first or the last pixel
        assert counts.max() == size
        lengths = [min(c - size // 2 + size, length) - max(c - size // 2, 0) for c in range(length)]
        np.testing.assert_allclose(counts.mean(), np.mean(lengths), rtol=0.03)
        assert (np.diff(np.pad(covered, ((0, 0), (1, 1))).astype(int), axis=1) == 1).sum(axis=1).max() == 1


def test_cutout_refuses_a_square_larger_than_the_images(rng):
    with pytest.raises(ValueError, match="Cutout: size is at most 7, for 7×9 images, got 8"):
        Cutout(8)(np.ones((2, 1, 7, 9)), rng)


def test_noise_has_the_deviation_that_was_asked_for():
    images = np.full((4, 3, 50, 50), 0.5, np.float32)
    noise = GaussianNoise(0.2)(images, np.random.default_rng(0)) - images
    np.testing.assert_allclose(noise.mean(), 0, atol=0.005)  # 4 standard deviations of 0.2/√30000
    np.testing.assert_allclose(noise.std(), 0.2, rtol=0.02)
    np.testing.assert_array_equal(GaussianNoise(0)(images, np.random.default_rng(0)), images)


# Mixes


@pytest.mark.parametrize("mix", mixes, ids=repr)
def test_a_mix_gives_distributions_and_leaves_its_inputs_alone(rng, mix):
    images, labels = rng.random((6, 3, 9, 8), np.float32), np.array([0, 1, 2, 3, 4, 0])
    before = images.copy()
    images.flags.writeable = labels.flags.writeable = False
    for seed in range(20):
        mixed, targets = mix(images, labels, np.random.default_rng(seed))
        assert mixed.shape == images.shape
        assert mixed.dtype == targets.dtype == np.float32
        assert targets.shape == (6, 5)
        assert targets.min() >= 0
        np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
        again, same = mix(images, labels, np.random.default_rng(seed))
        np.testing.assert_array_equal(again, mixed)
        np.testing.assert_array_equal(same, targets)
    np.testing.assert_array_equal(images, before)


class Fixed:
    """A generator that draws what it is told: λ, a permutation, and the centre of the rectangle."""

    def __init__(self, share: float, order: list[int], *centre: int) -> None:
        self.share, self.order, self.centre = share, order, list(centre)

    def beta(self, a: float, b: float) -> float:
        assert a == b == 0.3
        return self.share

    def permutation(self, n: int) -> np.ndarray:
        return np.array(self.order)

    def integers(self, high: int) -> int:
        return self.centre.pop(0)


def test_mixup_of_two_by_hand():
    images = np.array([0.0, 1.0]).reshape(2, 1, 1, 1)
    mixed, targets = Mixup(0.3, 3)(images, np.array([0, 2]), Fixed(0.75, [1, 0]))
    np.testing.assert_array_equal(mixed.ravel(), [0.25, 0.75])
    np.testing.assert_array_equal(targets, np.array([[0.75, 0, 0.25], [0.25, 0, 0.75]], np.float32), strict=True)


@pytest.mark.parametrize(
    ("centre", "rows", "columns"),
    [((4, 5), slice(2, 6), slice(3, 7)), ((0, 7), slice(0, 2), slice(5, 8)), ((7, 1), slice(5, 8), slice(0, 3))],
)
def test_cutmix_by_hand(centre, rows, columns):
    """With λ = 3/4 half of each axis is pasted, 4 of 8 pixels; at the border less, and the labels follow."""
    images = np.arange(3.0).reshape(3, 1, 1, 1) * np.ones((3, 2, 8, 8))
    mixed, targets = CutMix(0.3, 4)(images, np.array([3, 0, 1]), Fixed(0.75, [2, 1, 0], *centre))
    expected = images.copy()
    expected[:, :, rows, columns] = np.array([2.0, 1.0, 0.0]).reshape(3, 1, 1, 1)
    np.testing.assert_array_equal(mixed, expected)
    pasted = (rows.stop - rows.start) * (columns.stop - columns.start) / 64
    shares = [[0, pasted, 0, 1 - pasted], [1, 0, 0, 0], [0, 1 - pasted, 0, pasted]]
    np.testing.assert_allclose(targets, shares, rtol=1e-6)


@pytest.mark.parametrize("mix", mixes, ids=repr)
def test_images_and_targets_are_mixed_alike(rng, mix):
    """An image that is its own label tells how much of each label is in the mixture."""
    labels = rng.integers(2, size=8)
    images = np.ones((8, 1, 6, 6)) * labels[:, None, None, None]
    for _ in range(50):
        mixed, targets = mix(images, labels, rng)
        np.testing.assert_allclose(mixed.mean(axis=(1, 2, 3)), targets[:, 1], atol=1e-6)


def test_the_share_is_beta_distributed():
    labels, images = np.array([0, 1]), np.zeros((2, 1, 1, 1))
    rng = np.random.default_rng(0)
    shares = [share for _ in range(3000) if 0 < (share := float(Mixup(0.4, 2)(images, labels, rng)[1][0, 0])) < 1]
    assert abs(np.mean(shares) - 0.5) < 0.05
    np.testing.assert_allclose(np.var(shares), 1 / (4 * (2 * 0.4 + 1)), rtol=0.1)


@pytest.mark.parametrize("mix", mixes, ids=repr)
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((4, 5)), r"targets are integer labels \(4,\), got float64\(4, 5\)"),
        (np.zeros(3, np.int64), r"got int64\(3,\)"),
        (np.array([0, 1, 2, 5]), "labels are 0 to 4, got 0 to 5"),
        (np.array([0, -1, 2, 3]), "labels are 0 to 4, got -1 to 3"),
    ],
)
def test_what_are_no_labels_is_refused(rng, mix, labels, message):
    with pytest.raises(ValueError, match=f"{type(mix).__name__}: .*{message}"):
        mix(np.zeros((4, 1, 3, 3)), labels, rng)


def test_mixup_takes_floats_and_cutmix_any_type(rng):
    images, labels = rng.integers(256, size=(4, 1, 6, 6), dtype=np.uint8), np.arange(4)
    with pytest.raises(TypeError, match="Mixup: images are of floating point, got uint8"):
        Mixup(1.0, 4)(images, labels, rng)
    assert CutMix(1.0, 4)(images, labels, rng)[0].dtype == np.uint8


def test_a_loader_takes_them(rng):
    images, labels = rng.random((10, 1, 8, 8), np.float32), np.arange(10) % 5
    loader = DataLoader((images, labels), 4, transform=Compose(transforms), mix=Mixup(1.0, 5))
    for epoch in range(2):
        batches = list(loader)
        assert [(x.shape, y.shape) for x, y in batches] == [((n, 1, 8, 8), (n, 5)) for n in (4, 4, 2)], epoch
