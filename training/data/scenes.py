"""A ray-cast room with one object, in the spirit of 3D Shapes (whose generator is not public).

Six factors with the sizes of 3D Shapes: hue of floor, wall and object, scale, shape, orientation.
Geometry and light depend on the last three alone, so each of their 480 combinations is ray-cast
once into four layers (how much a pixel takes of the floor's, wall's and object's color, and of
white), and drawing an image is a sum of colored layers. The camera goes round the object; the room
is 5 wide on each side and the light stands in it.
"""

import math

import torch
from torch import Tensor

from training.data.ground_truth import GroundTruth
from training.data.procedural import Procedural, rgb_of_hue, spaced

N_HUES = 10
SHAPES = ("cube", "cylinder", "sphere", "capsule")
_SCALES = spaced(0.75, 1.25, 8)
_ANGLES = tuple(math.radians(angle) for angle in spaced(-30, 30, 15))
_HUES = tuple(k / N_HUES for k in range(N_HUES))
FACTORS = GroundTruth(
    ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation"),
    (_HUES, _HUES, _HUES, _SCALES, tuple(map(float, range(len(SHAPES)))), _ANGLES),
)
SUPERSAMPLING = 2
HALF_ROOM = 5.0
CAMERA_DISTANCE, CAMERA_HEIGHT, TARGET_HEIGHT = 4.7, 2.6, 1.0
FIELD_OF_VIEW = math.radians(48)
LIGHT = (-2.2, -3.0, 4.6)
AMBIENT, DIFFUSE, SHADOW, SHINE = 0.42, 0.62, 0.55, 0.35
SHARPNESS = 24
SATURATION, VALUE = 0.85, 0.95
FAR = 1e6
_NEAR = 1e-3


class Scenes(Procedural):
    """480,000 images of three channels."""

    def __init__(self, name: str, *, size: int) -> None:
        super().__init__(name, FACTORS, channels=3, size=size)
        self._layers: dict[torch.device, Tensor] = {}

    def draw(self, classes: Tensor) -> Tensor:
        """(batch, 6) -> (batch, 3, size, size)."""
        floor, wall, thing, scale, shape, orientation = classes.unbind(dim=-1)
        geometry = (scale * len(SHAPES) + shape) * len(_ANGLES) + orientation
        layers = self._layers_on(classes.device)[geometry].float() / 255
        hues = torch.stack([floor, wall, thing], dim=1) / N_HUES  # (batch, 3)
        colors = rgb_of_hue(hues, saturation=SATURATION, value=VALUE)  # (batch, 3, rgb)
        pixels = torch.einsum("bkp,bkc->bcp", layers[:, :3], colors) + layers[:, 3:]
        return pixels.clamp(0, 1).view(-1, *self.image_shape)

    def _layers_on(self, device: torch.device) -> Tensor:
        """(480, 4, size * size) uint8, cast at the first draw."""
        if device not in self._layers:
            self._layers[device] = _cast_all(self.size, device)
        return self._layers[device]


def _cast_all(size: int, device: torch.device) -> Tensor:
    rays = [_camera_rays(angle, size * SUPERSAMPLING, device) for angle in _ANGLES]
    origins, directions = (torch.stack(parts) for parts in zip(*rays, strict=True))
    origins = origins[:, None].expand_as(directions)  # (angles, rays, 3)
    layers = [
        _smaller(_shade(origins, directions, shape=shape, scale=scale), size)
        for scale in _SCALES
        for shape in SHAPES
    ]
    return torch.cat(layers)  # (480, 4, size * size)


def _smaller(layers: Tensor, size: int) -> Tensor:
    """(angles, rays, 4) floats to (angles, 4, size * size) uint8, each pixel a mean."""
    wide = size * SUPERSAMPLING
    square = layers.movedim(-1, 1).reshape(-1, 4, wide, wide)
    means = torch.nn.functional.avg_pool2d(square, SUPERSAMPLING)
    return (255 * means).round().clamp(0, 255).byte().flatten(2)


def _camera_rays(angle: float, n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where the camera stands, (3,), and where each pixel looks, (n * n, 3) unit vectors."""
    origin = torch.tensor(
        [
            CAMERA_DISTANCE * math.sin(angle),
            -CAMERA_DISTANCE * math.cos(angle),
            CAMERA_HEIGHT,
        ],
        device=device,
    )
    ahead = torch.tensor([0.0, 0.0, TARGET_HEIGHT], device=device) - origin
    ahead = ahead / ahead.norm()
    right = torch.linalg.cross(ahead, torch.tensor([0.0, 0.0, 1.0], device=device))
    right = right / right.norm()
    up = torch.linalg.cross(right, ahead)
    steps = ((torch.arange(n, device=device) + 0.5) * 2 / n - 1) * math.tan(FIELD_OF_VIEW / 2)
    down, across = torch.meshgrid(steps, steps, indexing="ij")
    looks = ahead + across[..., None] * right - down[..., None] * up
    return origin, (looks / looks.norm(dim=-1, keepdim=True)).view(-1, 3)


def _shade(origins: Tensor, directions: Tensor, *, shape: str, scale: float) -> Tensor:
    """Layers of each ray, (…, 4): floor, wall, object, white."""
    to_object = _hit(origins, directions, shape=shape, scale=scale)
    to_floor, to_wall, wall_normal = _hit_room(origins, directions)
    distance = torch.minimum(torch.minimum(to_object, to_floor), to_wall)
    points = origins + distance[..., None] * directions
    sees_object, sees_floor = to_object <= distance, to_floor <= distance
    normal = torch.where(
        sees_object[..., None], _normal(points, shape=shape, scale=scale), wall_normal
    )
    upright = torch.tensor([0.0, 0.0, 1.0], device=origins.device)
    normal = torch.where((sees_floor & ~sees_object)[..., None], upright, normal)
    light, shine = _lighting(points, normal, directions, shape=shape, scale=scale)
    sees_wall = ~(sees_object | sees_floor)
    seen = [sees_floor & ~sees_object, sees_wall, sees_object]
    return torch.stack([*(light * mask for mask in seen), shine * sees_object], dim=-1)


def _lighting(
    points: Tensor, normal: Tensor, directions: Tensor, *, shape: str, scale: float
) -> tuple[Tensor, Tensor]:
    """Brightness of a matte surface with the object's shadow, and a highlight (Blinn-Phong)."""
    to_light = torch.tensor(LIGHT, device=points.device) - points
    reach = to_light.norm(dim=-1)
    to_light = to_light / reach[..., None]
    facing = (normal * to_light).sum(dim=-1).clamp(min=0)
    start = points + 10 * _NEAR * normal
    blocked = _hit(start, to_light, shape=shape, scale=scale) < reach
    light = AMBIENT + DIFFUSE * facing * torch.where(blocked, 1 - SHADOW, 1.0)
    middle = to_light - directions
    middle = middle / middle.norm(dim=-1, keepdim=True)
    shine = SHINE * (normal * middle).sum(dim=-1).clamp(min=0) ** SHARPNESS
    return light, torch.where(blocked, 0.0, shine)


def _hit_room(origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distance to the floor and to the nearest wall, and that wall's normal."""
    down = directions[..., 2]
    to_floor = torch.where(down < -_NEAR, -origins[..., 2] / down, FAR)
    heading = directions[..., :2]
    toward = torch.where(heading.abs() < _NEAR, _NEAR, heading)
    to_walls = (HALF_ROOM * toward.sign() - origins[..., :2]) / toward  # (…, 2)
    to_wall, axis = to_walls.min(dim=-1)
    sides = -toward.sign() * torch.nn.functional.one_hot(axis, 2)
    return to_floor, to_wall, torch.nn.functional.pad(sides, (0, 1))


def _hit(origins: Tensor, directions: Tensor, *, shape: str, scale: float) -> Tensor:
    """Distance along each ray to an object that stands on the floor, `FAR` where it misses."""
    if shape == "cube":
        return _hit_cube(origins, directions, half=0.8 * scale)
    if shape == "cylinder":
        return _hit_cylinder(origins, directions, radius=0.8 * scale, height=1.7 * scale)
    if shape == "sphere":
        return _hit_sphere(origins, directions, radius=scale, height=scale)
    low, high, radius = _capsule(scale)
    ends = [_hit_sphere(origins, directions, radius=radius, height=z) for z in (low, high)]
    tube = _hit_tube(origins, directions, radius=radius, low=low, high=high)
    return torch.minimum(tube, torch.minimum(*ends))


def _capsule(scale: float) -> tuple[float, float, float]:
    """Heights of the two ends' centers, and the radius."""
    return 0.65 * scale, 1.45 * scale, 0.65 * scale


def _hit_cube(origins: Tensor, directions: Tensor, *, half: float) -> Tensor:
    center = torch.tensor([0.0, 0.0, half], device=origins.device)
    steep = torch.where(directions.abs() < 1e-9, 1e-9, directions)
    first = (center - half - origins) / steep  # (…, 3)
    second = (center + half - origins) / steep
    entry = torch.minimum(first, second).amax(dim=-1)
    leave = torch.maximum(first, second).amin(dim=-1)
    return torch.where((entry < leave) & (entry > _NEAR), entry, FAR)


def _hit_sphere(origins: Tensor, directions: Tensor, *, radius: float, height: float) -> Tensor:
    offset = origins - torch.tensor([0.0, 0.0, height], device=origins.device)
    b = (offset * directions).sum(dim=-1)
    root = b.square() - offset.square().sum(dim=-1) + radius**2
    entry = -b - root.clamp(min=0).sqrt()
    return torch.where((root > 0) & (entry > _NEAR), entry, FAR)


def _hit_tube(
    origins: Tensor, directions: Tensor, *, radius: float, low: float, high: float
) -> Tensor:
    """The side of an upright cylinder between two heights."""
    flat, start = directions[..., :2], origins[..., :2]
    a = flat.square().sum(dim=-1).clamp(min=1e-9)
    b = (start * flat).sum(dim=-1)
    root = b.square() - a * (start.square().sum(dim=-1) - radius**2)
    entry = (-b - root.clamp(min=0).sqrt()) / a
    z = origins[..., 2] + entry * directions[..., 2]
    return torch.where((root > 0) & (entry > _NEAR) & (z >= low) & (z <= high), entry, FAR)


def _hit_cylinder(origins: Tensor, directions: Tensor, *, radius: float, height: float) -> Tensor:
    side = _hit_tube(origins, directions, radius=radius, low=0, high=height)
    slope = torch.where(directions[..., 2].abs() < 1e-9, 1e-9, directions[..., 2])
    to_top = (height - origins[..., 2]) / slope
    place = origins[..., :2] + to_top[..., None] * directions[..., :2]
    on_top = (place.square().sum(dim=-1) <= radius**2) & (to_top > _NEAR)
    return torch.minimum(side, torch.where(on_top, to_top, FAR))


def _normal(points: Tensor, *, shape: str, scale: float) -> Tensor:
    """Unit normal of the object at points on its surface."""
    if shape == "cube":
        offset = points - torch.tensor([0.0, 0.0, 0.8 * scale], device=points.device)
        axis = offset.abs().argmax(dim=-1)
        return torch.nn.functional.one_hot(axis, 3) * offset.sign()
    if shape == "cylinder":
        is_top = points[..., 2] >= 1.7 * scale - 5 * _NEAR
        upright = torch.tensor([0.0, 0.0, 1.0], device=points.device)
        flat = points * torch.tensor([1.0, 1.0, 0.0], device=points.device)
        return torch.where(is_top[..., None], upright, _unit(flat))
    low, high, _ = _capsule(scale) if shape == "capsule" else (scale, scale, scale)
    core = torch.zeros_like(points)
    core[..., 2] = points[..., 2].clamp(low, high)
    return _unit(points - core)


def _unit(vectors: Tensor) -> Tensor:
    lengths: Tensor = vectors.norm(dim=-1, keepdim=True)
    return vectors / lengths.clamp(min=1e-9)
