"""Draws fundus-like photographs of people who do not exist, with identities and visits.

A *phantom* is one eye of one invented patient; a *visit* is one photograph of it. Anatomy (who it
is) and photography (when it was taken) come from separate random streams, so patient ``p`` and
visit ``v`` are the same pictures whatever else is drawn, and the population has no end:
``first_patient`` skips to people never seen before.

Units and frame
---------------
Lengths are in units of the image radius: the image spans [-1, 1] in both axes, x to the right and
y down, whatever its size in pixels. Anatomy is laid out in the *retina frame*, as a right eye (optic
disc on the right); a left eye is mirrored. A visit maps retina to image by a similarity. ``U(a, b)``
is uniform, ``N(m, s)`` normal, ``LN(s)`` lognormal with median 1 and log-deviation ``s``.

Who it is (stream ``(seed, patient, 0)``)
-----------------------------------------
- *Side*: left or right with probability 1/2. *Fovea* near the centre (deviation 0.04), *disc* 0.50
  to 0.64 to its nasal side: an upright ellipse of radius 0.10 to 0.15 with a pale rim, a soft edge
  and a brighter cup of 0.3 to 0.65 of its radius.
- *Tone*: pigmentation ``U(0, 1)`` blends a pale orange fundus into a dark brown one, with a small
  tint per channel; a smooth 14 x 14 spline field mottles it by 4 to 11 %; the macula (Gaussian,
  radius 0.14 to 0.22) is darker by 25 to 50 %, less so in a diseased eye (oedema).
- *Vessels*: from the disc spring a superior and an inferior arcade towards the temple, and two to
  the nose, each a vein and an artery: eight cubic Bezier trunks with a gentle sinuous displacement.
  Each trunk throws 6 branches and each branch 3 twigs: walks whose heading leaves the parent's by
  0.45 to 1.05 rad, bends back and wanders. Half-widths start at 0.021 (veins) or 0.015 (arteries),
  taper along a vessel and fall to 0.5 to 0.75 at a branching; vessels thin out around the fovea.
  Arteries are lighter, and trunks carry a bright reflex along their middle.
- *Disease*: a severity ``s ~ U(0, 1)``. The activity ``a = s^2 (3 - 2 s) LN(0.25)`` times the rates
  ``_MEAN_SITES`` gives the expected numbers of micro-aneurysms (dark red dots), haemorrhages (blots,
  and flames along the nerve fibres) and clusters of exudates (sharp yellow spots).
- *Distractors*, whatever the severity: soft pale drusen in 45 % of the eyes, brown pigment spots in
  40 %, and the tone and mottle above.
- *Grade* (the label): ``s + N(0, 0.05)`` cut at fixed thresholds, so neighbouring grades overlap
  both in their lesions and in their labels. Grade 0 is the commonest: the expected share of a grade
  among ``c`` falls linearly from 1.1/c to 0.9/c. Severity does not depend on the number of classes.

When it was taken (stream ``(seed, patient, 1 + visit)``)
---------------------------------------------------------
- *Position*: rotation ``N(0, 3.5 deg)``, shift ``N(0, 0.03)`` in each axis, scale ``LN(0.03)``.
- *Lesions*: each of the patient's lesion sites is present with probability 0.65, each distractor
  site with 0.92, and new lesions appear at 0.35 of the patient's rates: about two thirds of what a
  visit shows belongs to the patient.
- *Light*: gain ``LN(0.10)``, tint ``LN(0.04)`` per channel, a linear gradient of up to 0.25 across
  the radius, a quadratic vignette of 0.1 to 0.4; in 35 % a bright reflex near the edge or the fovea.
- *Camera*: Gaussian blur of 0.004 to 0.014, a circular field of view of radius 0.97 to 1.0 on
  black, white noise of 0.006 to 0.02 of full scale per pixel (the only random part that depends on
  the size), 8 bits.

How it is drawn
---------------
Vessels and lesions are *strokes*: capsules (segments with a half-width) whose coverage of a pixel
is the overlap of the stroke's cross-section with the pixel's, computed from the distance to the
segment in a small window around it, for all strokes at once. Coverage is analytic, so a vessel
thinner than a pixel fades instead of breaking up, and a patient looks the same at every size. Images
below 96 pixels are drawn at twice their size and averaged. Layers go on from the back: tone,
pigment, drusen, disc, veins, arteries, reflexes, blood, exudates, light, blur, field of view, noise.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

MIN_SIZE, MAX_SIZE = 28, 224
MIN_CLASSES, MAX_CLASSES = 2, 5
_MAX_PATIENT = 2**32

# Layers of strokes, in the order in which they are laid on the retina.
_PIGMENT, _DRUSEN, _VEIN, _ARTERY, _REFLEX, _BLOOD, _EXUDATE = range(7)
_N_LAYERS = 7

# Share of light that full coverage of a layer lets through, per channel (red, green, blue).
_TRANSMITTANCE = {
    _PIGMENT: (0.62, 0.55, 0.60),
    _VEIN: (0.62, 0.36, 0.45),
    _ARTERY: (0.80, 0.50, 0.52),
    _BLOOD: (0.56, 0.27, 0.35),
}
# Colour towards which a layer pulls, and how far at full coverage.
_PAINT = {
    _DRUSEN: ((0.95, 0.78, 0.42), 0.45),
    _REFLEX: ((1.00, 0.72, 0.50), 0.30),
    _EXUDATE: ((1.00, 0.88, 0.46), 0.85),
}
_PALE_TONE = np.array([0.86, 0.47, 0.24], dtype=np.float32)
_DARK_TONE = np.array([0.55, 0.23, 0.10], dtype=np.float32)
_DISC_COLOUR = np.array([0.98, 0.74, 0.42], dtype=np.float32)
_CUP_COLOUR = np.array([1.00, 0.92, 0.70], dtype=np.float32)
_MACULA_ABSORPTION = np.array([0.55, 1.0, 1.0], dtype=np.float32)


@dataclass(frozen=True)
class PhantomImages:
    """Phantom photographs, patient by patient and visit by visit.

    Attributes
    ----------
    images : ndarray of shape (n_images, size, size, 3), uint8
        Photographs, ``n_images = patients * visits``.
    labels : ndarray of shape (n_images,), int64
        Grade of the patient's disease, in ``0..classes - 1``; the same at all visits.
    patients : ndarray of shape (n_images,), int64
        Identity, in ``first_patient..first_patient + patients - 1``.
    visits : ndarray of shape (n_images,), int64
        Visit of that patient, in ``0..visits - 1``.
    """

    images: np.ndarray
    labels: np.ndarray
    patients: np.ndarray
    visits: np.ndarray


def draw_phantoms(
    *,
    patients: int,
    visits: int,
    size: int,
    classes: int = 2,
    seed: int,
    first_patient: int = 0,
) -> PhantomImages:
    """Draw ``visits`` photographs of each of ``patients`` invented patients.

    Parameters
    ----------
    patients : int
        Number of patients, at least 1.
    visits : int
        Number of photographs of each, at least 1.
    size : int
        Width and height in pixels, 28 to 224.
    classes : int, default=2
        Number of grades, 2 to 5. Does not change the images.
    seed : int
        Population to draw from, at least 0.
    first_patient : int, default=0
        Number of the first patient; the last must stay below 2**32.

    Returns
    -------
    PhantomImages
        Images, grades, identities and visits.

    Raises
    ------
    ValueError
        If an argument is not an integer or out of its range.

    Examples
    --------
    >>> drawn = draw_phantoms(patients=3, visits=2, size=32, seed=0)
    >>> drawn.images.shape, drawn.patients.tolist()
    ((6, 32, 32, 3), [0, 0, 1, 1, 2, 2])
    """
    patients = _check_int("patients", patients, 1, _MAX_PATIENT)
    visits = _check_int("visits", visits, 1, _MAX_PATIENT)
    size = _check_int("size", size, MIN_SIZE, MAX_SIZE)
    classes = _check_int("classes", classes, MIN_CLASSES, MAX_CLASSES)
    seed = _check_int("seed", seed, 0, None)
    first_patient = _check_int("first_patient", first_patient, 0, _MAX_PATIENT - patients)

    images = np.empty((patients, visits, size, size, 3), dtype=np.uint8)
    severities = np.empty(patients)
    for row in range(patients):
        eye = _draw_eye(_stream(seed, first_patient + row, 0))
        severities[row] = eye.graded_severity
        for visit in range(visits):
            images[row, visit] = _photograph(
                eye, size, _stream(seed, first_patient + row, 1 + visit)
            )
    identities = np.arange(first_patient, first_patient + patients, dtype=np.int64)
    return PhantomImages(
        images=images.reshape(patients * visits, size, size, 3),
        labels=np.repeat(_grades(severities, classes), visits),
        patients=np.repeat(identities, visits),
        visits=np.tile(np.arange(visits, dtype=np.int64), patients),
    )


def _check_int(name: str, value: Any, low: int, high: int | None) -> int:
    """Return `value` as an int, or say what `name` must be."""
    allowed = f"an integer >= {low}" if high is None else f"an integer between {low} and {high}"
    message = f"The '{name}' parameter of draw_phantoms must be {allowed}. Got {value!r} instead."
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        raise ValueError(message)
    return int(value)


def _stream(seed: int, patient: int, part: int) -> np.random.Generator:
    """Return the random stream of a patient's anatomy (part 0) or visit ``part - 1``."""
    # A spawn key, unlike a longer entropy list, cannot collide with another by trailing zeros.
    return np.random.Generator(
        np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(patient, part)))
    )


def _grades(severities: np.ndarray, classes: int) -> np.ndarray:
    """Cut severities (n,) in [0, 1] into grades whose shares fall from 1.1/c to 0.9/c."""
    shares = np.linspace(1.1, 0.9, classes) / classes
    return np.searchsorted(np.cumsum(shares)[:-1], severities, side="right").astype(np.int64)


# --- Strokes -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Strokes:
    """Capsules to lay on the retina, lengths in image radii.

    ``ends`` (n, 2, 2) float32 holds both end points; ``half_width`` (n,) float32; ``softness`` (n,)
    float32 is the half-width of the edge's blur; ``layer`` (n,) int; ``site`` (n,) int numbers the
    lesion that a stroke belongs to. ``dot`` (n,) bool: the stroke stands alone, so that it covers
    less than its width's share of a pixel longer than itself.
    """

    ends: np.ndarray
    half_width: np.ndarray
    softness: np.ndarray
    layer: np.ndarray
    site: np.ndarray
    dot: np.ndarray

    def __len__(self) -> int:
        return len(self.half_width)

    def select(self, keep: np.ndarray) -> _Strokes:
        """Return the strokes that the boolean mask or index `keep` picks."""
        return _Strokes(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))


def _join(parts: list[_Strokes]) -> _Strokes:
    """Concatenate strokes."""
    fields = _Strokes.__dataclass_fields__
    return _Strokes(*(np.concatenate([getattr(p, name) for p in parts]) for name in fields))


def _rasterise(strokes: _Strokes, transform: _Similarity, canvas: int) -> np.ndarray:
    """Return the coverage of every layer, ndarray of shape (_N_LAYERS, canvas, canvas) in [0, 1].

    Where strokes of one layer overlap, the greater coverage counts, so that the pieces of a vessel
    join without seams.
    """
    ends = ((transform.to_image(strokes.ends) + 1.0) * (canvas / 2) - 0.5).astype(np.float32)
    scale = np.float32(transform.scale * canvas / 2)
    middle, delta = ends.mean(axis=1), ends[:, 1] - ends[:, 0]
    half_width = strokes.half_width * scale
    edge = np.maximum(strokes.softness * scale, np.float32(0.5))
    reach = np.abs(delta).max(axis=1) / 2 + half_width + edge + 0.5
    bucket = np.maximum(2, np.ceil(reach)).astype(np.int64)
    bucket[bucket > 6] += (-bucket[bucket > 6]) % 6
    seen = np.all((middle > -1) & (middle < canvas), axis=1)

    margin = int(bucket.max(initial=2)) + 2
    side = canvas + 2 * margin
    layers = np.zeros(_N_LAYERS * side * side, dtype=np.float32)
    length = np.sqrt((delta**2).sum(axis=1))
    tangent = delta / np.maximum(length, np.float32(1e-6))[:, None]
    tangent[length == 0.0] = 1.0, 0.0
    intercept, slope, top = _profile(half_width, edge)
    solid = np.minimum(1.0, (length + np.float32(math.pi / 2) * half_width) / (2 * edge))
    solid[~strokes.dot] = 1.0
    profile = np.stack([intercept, slope, top]) * solid
    corner = np.rint(middle).astype(np.int64)
    fraction = (corner - middle).astype(np.float32)
    base = (strokes.layer * side + corner[:, 1] + margin) * side + corner[:, 0] + margin

    for reach_px in np.unique(bucket[seen]):
        i = np.flatnonzero(seen & (bucket == reach_px))
        offsets = np.arange(-reach_px, reach_px + 1)
        dx = offsets.astype(np.float32) + fraction[i, 0, None]
        dy = offsets.astype(np.float32) + fraction[i, 1, None]
        tx, ty = tangent[i, 0, None], tangent[i, 1, None]
        along = np.abs((dx * tx)[:, None, :] + (dy * ty)[:, :, None])
        along -= (length[i] / 2)[:, None, None]
        np.maximum(along, 0.0, out=along)
        across = (dy * tx)[:, :, None] - (dx * ty)[:, None, :]
        along *= along
        across *= across
        along += across
        distance = np.sqrt(along, out=along)
        intercept, slope, top = profile[:, i, None, None]
        coverage = np.minimum(intercept - slope * distance, top)
        index = base[i, None, None] + (offsets[:, None] * side + offsets[None, :])
        hit = np.flatnonzero(coverage > 0.002)
        np.maximum.at(layers, index.ravel()[hit], coverage.ravel()[hit])
    inner = slice(margin, margin + canvas)
    return layers.reshape(_N_LAYERS, side, side)[:, inner, inner]


def _profile(half_width: np.ndarray, edge: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return intercept, slope and top of a line's box-filtered profile.

    The share of ``[d - e, d + e]`` inside ``[-w, w]`` at distance ``d >= 0`` is
    ``clip(intercept - slope * d, 0, top)``, with ``w`` the half-width and ``e`` the edge.
    """
    return (half_width + edge) / (2 * edge), 0.5 / edge, np.minimum(1.0, half_width / edge)


@dataclass(frozen=True)
class _Similarity:
    """Map from retina frame to image: turn by ``angle``, scale, shift by ``(x, y)``."""

    angle: float
    scale: float
    x: float
    y: float

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Map retina points (..., 2) to the image."""
        c, s = self.scale * math.cos(self.angle), self.scale * math.sin(self.angle)
        px, py = points[..., 0], points[..., 1]
        return np.stack([c * px - s * py + self.x, s * px + c * py + self.y], axis=-1)

    def to_retina(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Map image coordinates (broadcastable) to retina coordinates, as float32."""
        c, s = math.cos(self.angle) / self.scale, math.sin(self.angle) / self.scale
        x, y = x - np.float32(self.x), y - np.float32(self.y)
        return (
            np.float32(c) * x + np.float32(s) * y,
            np.float32(c) * y - np.float32(s) * x,
        )


# --- Anatomy: who it is ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Eye:
    """A patient's eye in the retina frame; see the module's docstring."""

    fovea: np.ndarray
    disc: np.ndarray
    disc_radii: np.ndarray
    cup: float
    cup_shift: np.ndarray
    tone: np.ndarray
    mottle: np.ndarray
    macula: tuple[float, float]
    vessels: _Strokes
    distractors: _Strokes
    lesions: _Strokes
    activity: float
    graded_severity: float


def _draw_eye(rng: np.random.Generator) -> _Eye:
    """Draw a patient from the stream of their anatomy."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    severity = rng.random()
    graded_severity = severity + rng.normal(0.0, 0.05)
    activity = severity**2 * (3.0 - 2.0 * severity) * math.exp(rng.normal(0.0, 0.25))
    fovea = np.array([-0.05, 0.03]) + rng.normal(0.0, 0.04, 2)
    disc = fovea + np.array([rng.uniform(0.50, 0.64), rng.normal(-0.05, 0.03)])
    radius = rng.uniform(0.10, 0.15)
    disc_radii = np.array([radius * rng.uniform(0.86, 0.98), radius])
    cup = rng.uniform(0.3, 0.65)
    cup_shift = rng.normal(0.0, 0.1, 2) * radius
    pigmentation = rng.random()
    tone = (1 - pigmentation) * _PALE_TONE + pigmentation * _DARK_TONE
    tone = tone * np.exp(rng.normal(0.0, [0.04, 0.07, 0.10]))
    mottle = ndimage.spline_filter(rng.normal(0.0, rng.uniform(0.04, 0.11), (14, 14)), order=3)
    oedema = 0.6 * min(1.0, activity)
    macula = (rng.uniform(0.14, 0.22), rng.uniform(0.25, 0.50) * (1.0 - oedema))
    vessels = _grow_vessels(rng, disc, fovea)
    distractors = _draw_distractors(rng, fovea)
    lesions = _draw_lesions(rng, activity, fovea, disc)

    flip = np.array([side, 1.0])
    flipped = [
        _Strokes(**{**strokes.__dict__, "ends": (strokes.ends * flip).astype(np.float32)})
        for strokes in (vessels, distractors, lesions)
    ]
    return _Eye(
        fovea=fovea * flip,
        disc=disc * flip,
        disc_radii=disc_radii,
        cup=cup,
        cup_shift=cup_shift,
        tone=tone.astype(np.float32),
        mottle=mottle.astype(np.float32),
        macula=macula,
        vessels=flipped[0],
        distractors=flipped[1],
        lesions=flipped[2],
        activity=activity,
        graded_severity=graded_severity,
    )


def _grow_vessels(rng: np.random.Generator, disc: np.ndarray, fovea: np.ndarray) -> _Strokes:
    """Grow trunks, branches and twigs, one generation at a time, as strokes."""
    tortuosity = rng.uniform(0.6, 1.5)
    points, widths, layers = _trunks(rng, disc, fovea, tortuosity)
    generations = [(points, widths, layers)]
    for children, steps, low, high in ((6, 15, 0.25, 0.75), (3, 8, 0.12, 0.38)):
        points, widths, layers = _branch(
            rng, points, widths, layers, children, steps, (low, high), tortuosity
        )
        generations.append((points, widths, layers))

    parts = [_polyline_strokes(*generation, fovea) for generation in generations]
    reflex = parts[0].select(parts[0].half_width > 0.006)
    parts.append(
        _Strokes(
            **{
                **reflex.__dict__,
                "half_width": reflex.half_width * np.float32(0.28),
                "layer": np.full(len(reflex), _REFLEX),
            }
        )
    )
    return _join(parts)


def _trunks(
    rng: np.random.Generator, disc: np.ndarray, fovea: np.ndarray, tortuosity: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points (8, 41, 2), half-widths (8, 41) and layers (8,) of the trunk vessels."""
    # Order: superior temporal, inferior temporal, superior nasal, inferior nasal; vein, artery.
    up = np.tile(np.array([-1.0, 1.0, -1.0, 1.0])[:, None], (1, 2)).ravel()
    temporal = np.repeat([True, True, False, False], 2)
    layers = np.tile([_VEIN, _ARTERY], 4)

    def control(low: tuple[float, float], high: tuple[float, float]) -> np.ndarray:
        # Vein and artery of a pair share most of a control point's displacement.
        draw = np.repeat(rng.random((4, 2)), 2, axis=0)
        draw = np.clip(draw + rng.normal(0.0, 0.22, (8, 2)), -0.2, 1.2)
        xy = np.array(low) + draw * (np.array(high) - np.array(low))
        return xy * np.stack([np.ones(8), up], axis=1)

    start = disc + control((-0.03, 0.0), (0.03, 0.04))
    pick = temporal[:, None]
    second = disc + np.where(
        pick, control((-0.08, 0.30), (0.12, 0.55)), control((0.03, 0.15), (0.15, 0.32))
    )
    third = np.where(
        pick,
        fovea + control((-0.05, 0.50), (0.30, 0.85)),
        disc + control((0.18, 0.30), (0.40, 0.60)),
    )
    last = np.where(
        pick, control((-1.05, 0.20), (-0.80, 0.75)), disc + control((0.40, 0.35), (0.75, 1.10))
    )
    t = np.linspace(0.0, 1.0, 41)[None, :, None]
    points = (
        (1 - t) ** 3 * start[:, None]
        + 3 * (1 - t) ** 2 * t * second[:, None]
        + 3 * (1 - t) * t**2 * third[:, None]
        + t**3 * last[:, None]
    )
    heading = np.gradient(points, axis=1)
    heading /= np.linalg.norm(heading, axis=2, keepdims=True)
    phase = rng.uniform(0.0, 2 * math.pi, (8, 1, 3))
    waves = np.array([2.0, 4.5, 8.0]) * rng.uniform(0.7, 1.3, (8, 1, 3))
    height = np.array([0.016, 0.010, 0.006]) * rng.normal(0.0, tortuosity, (8, 1, 3))
    sway = (height * np.sin(2 * math.pi * waves * t + phase)).sum(axis=2) * np.minimum(
        1.0, 5 * t[..., 0]
    )
    points = points + sway[..., None] * np.stack([-heading[..., 1], heading[..., 0]], axis=2)
    width = np.where(layers == _VEIN, 0.021, 0.015) * np.where(temporal, 1.0, 0.75)
    width = width * np.exp(rng.normal(0.0, 0.10, 8))
    return points, width[:, None] * (1.0 - 0.55 * t[..., 0]), layers


def _branch(
    rng: np.random.Generator,
    points: np.ndarray,
    widths: np.ndarray,
    layers: np.ndarray,
    children: int,
    steps: int,
    lengths: tuple[float, float],
    tortuosity: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grow `children` branches of `steps` steps from each parent vessel.

    Parents are points (p, s, 2), half-widths (p, s) and layers (p,); so are the branches.
    """
    n_parents, n_steps = widths.shape
    count = n_parents * children
    parent = np.repeat(np.arange(n_parents), children)
    slot = np.tile(np.arange(children), n_parents)
    where = 0.12 + 0.86 * (slot + rng.random(count)) / children
    at = np.minimum((where * (n_steps - 1)).astype(np.int64), n_steps - 2)
    along = points[parent, at + 1] - points[parent, at]
    hand = np.where(slot % 2 == 0, 1.0, -1.0) * np.where(rng.random(n_parents) < 0.5, 1, -1)[parent]
    hand = np.where(rng.random(count) < 0.2, -hand, hand)
    length = rng.uniform(*lengths, count)
    heading = np.arctan2(along[:, 1], along[:, 0]) + hand * rng.uniform(0.45, 1.05, count)
    bend = -hand * rng.uniform(0.0, 0.9, count) / steps
    wander = rng.normal(0.0, 0.13 * tortuosity, (count, steps))
    heading = heading[:, None] + np.cumsum(bend[:, None] + wander, axis=1)
    step = (length / steps)[:, None]
    moves = np.stack([step * np.cos(heading), step * np.sin(heading)], axis=2)
    origin = points[parent, at][:, None]
    grown = np.concatenate([origin, origin + np.cumsum(moves, axis=1)], axis=1)
    width = widths[parent, at] * rng.uniform(0.50, 0.75, count)
    taper = 1.0 - 0.6 * np.linspace(0.0, 1.0, steps + 1)
    return grown, np.maximum(width[:, None] * taper, 0.0025), layers[parent]


def _polyline_strokes(
    points: np.ndarray, widths: np.ndarray, layers: np.ndarray, fovea: np.ndarray
) -> _Strokes:
    """Cut vessels (v, s, 2) into strokes, thinned around the fovea, dropped outside the view."""
    middle = (points[:, 1:] + points[:, :-1]) / 2
    width = (widths[:, 1:] + widths[:, :-1]) / 2
    width = width * np.clip(np.linalg.norm(middle - fovea, axis=2) / 0.22 - 0.45, 0.0, 1.0)
    ends = np.stack([points[:, :-1], points[:, 1:]], axis=2)
    keep = (width > 0.001) & ((middle**2).sum(axis=2) < 1.2**2)
    layer = np.broadcast_to(layers[:, None], width.shape)[keep]
    return _make_strokes(ends[keep], width[keep], 0.0, layer, 0, dot=False)


def _make_strokes(
    ends: np.ndarray,
    half_width: np.ndarray,
    softness: float,
    layer: np.ndarray | int,
    site: np.ndarray | int,
    *,
    dot: bool = True,
) -> _Strokes:
    """Build strokes, broadcasting scalars."""
    n = len(half_width)
    return _Strokes(
        ends=np.asarray(ends, dtype=np.float32).reshape(n, 2, 2),
        half_width=np.asarray(half_width, dtype=np.float32),
        softness=np.full(n, softness, dtype=np.float32),
        layer=np.full(n, layer, dtype=np.int64),
        site=np.full(n, site, dtype=np.int64),
        dot=np.full(n, dot),
    )


# --- Lesions and their look-alikes -------------------------------------------------------------


@dataclass(frozen=True)
class _Spots:
    """A kind of site: `spread` around the fovea, `per_site` spots within `scatter` of its middle.

    ``radii`` bounds the spots' radii, ``softness`` blurs their edge; lengths in image radii.
    """

    layer: int
    spread: float
    per_site: int
    scatter: float
    radii: tuple[float, float]
    softness: float


_DOTS = _Spots(_BLOOD, 0.42, 1, 0.0, (0.009, 0.016), 0.004)
_BLOTS = _Spots(_BLOOD, 0.42, 3, 0.018, (0.014, 0.042), 0.010)
_EXUDATES = _Spots(_EXUDATE, 0.25, 8, 0.050, (0.008, 0.022), 0.005)
_SOFT_DRUSEN = _Spots(_DRUSEN, 0.28, 4, 0.060, (0.012, 0.030), 0.020)
_PIGMENT_SPOTS = _Spots(_PIGMENT, 0.50, 2, 0.015, (0.014, 0.040), 0.020)
# Expected sites at activity 1: dots, blots, flames, clusters of exudates.
_MEAN_SITES = np.array([24.0, 9.0, 5.0, 7.0])


def _draw_lesions(
    rng: np.random.Generator, activity: float, fovea: np.ndarray, disc: np.ndarray
) -> _Strokes:
    """Draw dots, haemorrhages and exudates in numbers that follow `activity`."""
    dots, blots, flames, clusters = rng.poisson(activity * _MEAN_SITES)
    strokes = _join(
        [
            _draw_spots(rng, _DOTS, dots, fovea, 0),
            _draw_spots(rng, _BLOTS, blots, fovea, dots),
            _draw_flames(rng, flames, fovea, disc, dots + blots),
            _draw_spots(rng, _EXUDATES, clusters, fovea, dots + blots + flames),
        ]
    )
    off_disc = np.linalg.norm(strokes.ends.mean(axis=1) - disc, axis=1) > 0.18
    return strokes.select(off_disc)


def _draw_distractors(rng: np.random.Generator, fovea: np.ndarray) -> _Strokes:
    """Draw drusen (soft, pale) and pigment spots (brown), which say nothing of the grade."""
    drusen = int(rng.random() < 0.45) * (1 + rng.poisson(3.0))
    spots = int(rng.random() < 0.40) * (1 + rng.poisson(4.0))
    return _join(
        [
            _draw_spots(rng, _SOFT_DRUSEN, drusen, fovea, 0),
            _draw_spots(rng, _PIGMENT_SPOTS, spots, fovea, drusen),
        ]
    )


def _draw_spots(
    rng: np.random.Generator, kind: _Spots, sites: int, fovea: np.ndarray, first_site: int
) -> _Strokes:
    """Draw `sites` sites of a kind as strokes without length, numbered from `first_site`."""
    n = sites * kind.per_site
    middles = np.repeat(fovea + rng.normal(0.0, kind.spread, (sites, 2)), kind.per_site, axis=0)
    spots = middles + rng.normal(0.0, kind.scatter, (n, 2))
    site = first_site + np.repeat(np.arange(sites), kind.per_site)
    radius = rng.uniform(*kind.radii, n)
    return _make_strokes(np.stack([spots, spots], axis=1), radius, kind.softness, kind.layer, site)


def _draw_flames(
    rng: np.random.Generator, sites: int, fovea: np.ndarray, disc: np.ndarray, first_site: int
) -> _Strokes:
    """Draw flame haemorrhages: short strokes that point away from the disc."""
    middles = fovea + rng.normal(0.0, _BLOTS.spread, (sites, 2))
    fibre = middles - disc
    fibre /= np.linalg.norm(fibre, axis=1, keepdims=True) + 1e-9
    reach = rng.uniform(0.02, 0.06, (sites, 1)) * fibre
    ends = np.stack([middles - reach, middles + reach], axis=1)
    half_width = rng.uniform(0.010, 0.020, sites)
    return _make_strokes(ends, half_width, 0.008, _BLOOD, first_site + np.arange(sites))


def _thin_out(rng: np.random.Generator, strokes: _Strokes, probability: float) -> _Strokes:
    """Keep each site of `strokes` with the given probability."""
    sites = int(strokes.site.max(initial=-1)) + 1
    return strokes.select((rng.random(sites) < probability)[strokes.site])


# --- Photography: when it was taken ------------------------------------------------------------


def _photograph(eye: _Eye, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return one visit's photograph of `eye`, ndarray of shape (size, size, 3), uint8."""
    oversampling = 2 if size < 96 else 1
    canvas = size * oversampling
    axis = ((np.arange(canvas, dtype=np.float32) + 0.5) * (2.0 / canvas) - 1.0).astype(np.float32)
    x, y = axis[None, :], axis[:, None]
    transform = _Similarity(
        angle=rng.normal(0.0, math.radians(3.5)),
        scale=math.exp(rng.normal(0.0, 0.03)),
        x=rng.normal(0.0, 0.03),
        y=rng.normal(0.0, 0.03),
    )
    strokes = _join(
        [
            eye.vessels,
            _thin_out(rng, eye.distractors, 0.92),
            _thin_out(rng, eye.lesions, 0.65),
            _draw_lesions(rng, 0.35 * eye.activity, eye.fovea, eye.disc),
        ]
    )
    image = _paint_retina(eye, transform, strokes, x, y)
    light, aperture = _draw_light(rng, x, y, 1.0 / canvas, transform.to_image(eye.fovea))
    image *= light
    blur = rng.uniform(0.004, 0.014) * canvas / 2
    image = ndimage.gaussian_filter1d(image, blur, axis=1, truncate=3.0)
    image = ndimage.gaussian_filter1d(image, blur, axis=2, truncate=3.0)
    image *= aperture
    if oversampling > 1:
        image = image.reshape(3, size, oversampling, size, oversampling).mean(axis=(2, 4))
    noise = rng.uniform(0.006, 0.02)
    image += np.float32(noise) * rng.standard_normal((3, size, size), dtype=np.float32)
    image = np.clip(image * 255.0 + 0.5, 0.0, 255.0)
    return np.moveaxis(image, 0, 2).astype(np.uint8)


def _paint_retina(
    eye: _Eye, transform: _Similarity, strokes: _Strokes, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Return the evenly lit retina seen at image coordinates `x`, `y`: (3, canvas, canvas)."""
    rx, ry = transform.to_retina(x, y)
    coverage = _rasterise(strokes, transform, x.size)

    grid = np.stack([ry, rx])
    grid *= 5.0
    grid += 6.5
    mottle = ndimage.map_coordinates(eye.mottle, grid, order=3, mode="nearest", prefilter=False)
    radius, depth = eye.macula
    from_fovea = (rx - np.float32(eye.fovea[0])) ** 2 + (ry - np.float32(eye.fovea[1])) ** 2
    macula = np.exp(from_fovea * np.float32(-0.5 / radius**2)) * np.float32(depth)

    image = np.empty((3, *rx.shape), dtype=np.float32)
    for channel in range(3):
        image[channel] = (
            eye.tone[channel] * (1.0 + mottle) * (1.0 - _MACULA_ABSORPTION[channel] * macula)
        )
    _lay(image, coverage, _PIGMENT)
    _lay(image, coverage, _DRUSEN)
    _paint_disc(image, eye, rx, ry)
    for layer in (_VEIN, _ARTERY, _REFLEX, _BLOOD, _EXUDATE):
        _lay(image, coverage, layer)
    return image


def _lay(image: np.ndarray, coverage: np.ndarray, layer: int) -> None:
    """Lay one layer of strokes on `image` (3, canvas, canvas), in place."""
    cover = coverage[layer]
    if layer in _TRANSMITTANCE:
        for channel, passed in enumerate(_TRANSMITTANCE[layer]):
            image[channel] *= 1.0 - np.float32(1.0 - passed) * cover
        return
    colour, strength = _PAINT[layer]
    pull = np.float32(strength) * cover
    for channel in range(3):
        image[channel] += pull * (np.float32(colour[channel]) - image[channel])


def _paint_disc(image: np.ndarray, eye: _Eye, rx: np.ndarray, ry: np.ndarray) -> None:
    """Paint the optic disc, its cup and the glow around it on `image`, in place."""
    dx = (rx - np.float32(eye.disc[0])) / np.float32(eye.disc_radii[0])
    dy = (ry - np.float32(eye.disc[1])) / np.float32(eye.disc_radii[1])
    squared = dx * dx + dy * dy
    distance = np.sqrt(squared)
    glow = 0.16 * np.exp(squared * np.float32(-0.12))
    rim = 0.85 * np.clip((1.12 - distance) / 0.24, 0.0, 1.0)
    cx = dx - np.float32(eye.cup_shift[0] / eye.disc_radii[0])
    cy = dy - np.float32(eye.cup_shift[1] / eye.disc_radii[1])
    cup = 0.85 * np.clip((np.float32(eye.cup) + 0.15 - np.sqrt(cx * cx + cy * cy)) / 0.3, 0.0, 1.0)
    # A dark fundus has a somewhat darker disc.
    shade = np.float32(0.80 + 0.25 * float(eye.tone[0]))
    for channel in range(3):
        image[channel] *= 1.0 + glow
        image[channel] += rim * (shade * _DISC_COLOUR[channel] - image[channel])
        image[channel] += cup * rim * (shade * _CUP_COLOUR[channel] - image[channel])


def _draw_light(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, pixel: float, fovea: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return a visit's light (3, canvas, canvas) and field of view (canvas, canvas)."""
    gain = math.exp(rng.normal(0.0, 0.10))
    tint = np.exp(rng.normal(0.0, 0.04, 3))
    direction, slope = rng.uniform(0.0, 2 * math.pi), rng.uniform(0.0, 0.25)
    vignette = rng.uniform(0.1, 0.4)
    field = rng.uniform(0.97, 1.0)
    squared = x * x + y * y
    light = 1.0 - np.float32(vignette) * squared
    light *= (
        1.0
        + np.float32(slope * math.cos(direction)) * x
        + np.float32(slope * math.sin(direction)) * y
    )
    if rng.random() < 0.35:
        at_fovea = rng.random() < 0.5
        turn, size = rng.uniform(0.0, 2 * math.pi), rng.uniform(0.03, 0.09)
        centre = fovea if at_fovea else 0.85 * np.array([math.cos(turn), math.sin(turn)])
        strength = rng.uniform(0.15, 0.5)
        spot = (x - np.float32(centre[0])) ** 2 + (y - np.float32(centre[1])) ** 2
        light *= 1.0 + np.float32(strength) * np.exp(spot * np.float32(-0.5 / size**2))
    aperture = np.clip((np.float32(field) - np.sqrt(squared)) / np.float32(2 * pixel) + 0.5, 0, 1)
    return (gain * tint).astype(np.float32)[:, None, None] * light, aperture
