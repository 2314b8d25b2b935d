"""The taste model: parameters, and what they say about one rater.

For rater u and image x, in standardised rating units:

    rating = crowd(x) + profile_u(x) + severity_u + trust_u * crowd(x) + own_u(x) + noise

crowd ~ a Gaussian process posterior (`beholder.scorers.taste.crowd`), profile_u(x) a mean linear in the profile and the looks;
severity, trust and own taste are zero-mean Gaussian with covariances learned from other raters, hence one Gaussian process
per rater, whose posterior after N ratings is closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from beholder.profile import Profile
from beholder.scorers.profile_features import ProfileEncoder
from beholder.scorers.taste.crowd import Crowd
from beholder.scorers.taste.kernels import Projection
from beholder.scorers.taste.posterior import Evidence, Mixture, average, left_out
from beholder.scorers.threads import one_blas_thread

Z90 = 1.6448536269514722  # half width of the central 90 % of a standard normal
# Share of the noise of a rating that the same person repeats when asked again: a liking for this very image that no other image tells of.
# It does not matter for ratings of different images, but it is common to all choices that an image takes part in.
REPEATED = 0.8
LEFT_OUT_WEIGHT = 20.0  # that many ratings' worth of belief that the noise level is right, before the own errors count


@dataclass(frozen=True)
class Looks:
    """All the model needs of n images.

    Args:
        looks: [n, dim] compressed features.
        cross: [n, m] covariance with the crowd's landmarks.
        crowd: [n] expected shared taste.
        axes: [n, k] coordinates on the axes along which raters were seen to differ.
    """

    looks: np.ndarray
    cross: np.ndarray
    crowd: np.ndarray
    axes: np.ndarray

    def __len__(self) -> int:
        return len(self.looks)

    def __getitem__(self, rows) -> Looks:
        return Looks(self.looks[rows], self.cross[rows], self.crowd[rows], self.axes[rows])


@dataclass(frozen=True)
class TasteModel:
    """Everything learned.

    Args:
        layers: feature layer -> width, in order; `projection` reads them.
        centre, spread: standardised = (rating on 0..1 - centre) / spread.
        projection, crowd: looks, and the shared taste.
        severity, trust: variances of a rater's constant and of the deviation from 1 of a rater's slope on the crowd.
        own: [2 x blocks] weights of the kernels of own taste.
        noise: variance of one rating.
        axes_mean, axes: [dim], [dim, k] looks -> axes; own taste also varies along these, with covariance `along` [k, k].
        encoder: profile -> numbers [d]; profile_weights: [d, 1 + k] their effect on the constant and along the axes.
        settings: [g, 3] factors of own taste, of trust and of noise that a rater may have; log_prior: [g].
        shots, widths: [s] numbers of ratings, and the factors of the interval's half width found on training raters.
    """

    layers: dict[str, int]
    centre: float
    spread: float
    projection: Projection
    crowd: Crowd
    severity: float
    trust: float
    own: np.ndarray
    noise: float
    axes_mean: np.ndarray
    axes: np.ndarray
    along: np.ndarray
    encoder: ProfileEncoder
    profile_weights: np.ndarray
    settings: np.ndarray
    log_prior: np.ndarray
    shots: np.ndarray
    widths: np.ndarray

    def look(self, features: np.ndarray) -> Looks:
        """[n, d] features -> what the model needs of the images."""
        looks = self.projection(features)
        cross = self.crowd.cross(self.projection, looks)
        return Looks(looks, cross, self.crowd.mean(cross), (looks - self.axes_mean) @ self.axes)

    def profile_effect(self, profile: Profile, looks: Looks) -> np.ndarray:
        """[n] what the profile adds to the prior mean."""
        effect = self.encoder(profile) @ self.profile_weights
        return effect[0] + looks.axes @ effect[1:]

    def covariance(self, a: Looks, b: Looks, *, same: np.ndarray | None = None) -> Covariance:
        """Prior covariance between two lists of images, by part; [n, m] each.

        Args:
            same: [n] index in b of the same image, -1 where b has it not; none is the same if not given.
        """
        rows = np.flatnonzero(same >= 0) if same is not None else np.zeros(0, dtype=np.int64)
        return Covariance(
            shared=self.crowd.covariance(self.projection, (a.looks, b.looks), (a.cross, b.cross)),
            trust=self.trust * np.outer(a.crowd, b.crowd),
            own=self.projection.kernel(a.looks, b.looks, weights=self.own) + (a.axes @ self.along) @ b.axes.T,
            severity=self.severity,
            same=(rows, same[rows] if same is not None else rows),
            image=np.array([self.crowd.own, REPEATED * self.noise]),
        )

    def variance(self, a: Looks, settings: np.ndarray) -> np.ndarray:
        """[g, n] prior variance of the images at each setting, without rating noise."""
        shared = self.crowd.variance(self.projection, a.looks, a.cross) + self.severity
        own = self.projection.variance(a.looks, weights=self.own) + np.einsum("ij,jk,ik->i", a.axes, self.along, a.axes)
        return shared + settings[:, :1] * own + settings[:, 1:2] * self.trust * a.crowd**2

    def learn(self, looks: Looks, evidence: Evidence) -> Posterior:
        """The posterior of one rater.

        Args:
            looks: of the images the evidence speaks of.
            evidence: ratings and choices; may be empty.
        """
        if not len(evidence):
            weight = np.exp(self.log_prior - self.log_prior.max())
            return Posterior(self, looks, evidence, Mixture(self.settings, weight / weight.sum(), ()), 1.0)
        with one_blas_thread():
            mixture = average(
                self.covariance(looks, looks, same=np.arange(len(looks))).at,
                evidence,
                settings=self.settings,
                log_prior=self.log_prior,
                noise=lambda setting: (1 - REPEATED) * self.noise * setting[2],
            )
        errors = left_out(mixture, evidence)
        return Posterior(self, looks, evidence, mixture, float((LEFT_OUT_WEIGHT + errors.sum()) / (LEFT_OUT_WEIGHT + len(errors))))

    def width(self, n: int) -> float:
        """Factor of the interval's half width for n ratings, linear between the measured ones in log(1 + n)."""
        return float(np.interp(np.log1p(n), np.log1p(self.shots), self.widths))


@dataclass(frozen=True)
class Covariance:
    """Prior covariance by part; [n, m] each, `severity` one number.

    What belongs to one image only: `image` = variances of what looks do not explain, and of the noise that is repeated; `same` = rows and
    columns at which both images are the same.
    """

    shared: np.ndarray
    trust: np.ndarray
    own: np.ndarray
    severity: float
    same: tuple[np.ndarray, np.ndarray]
    image: np.ndarray

    def at(self, setting: np.ndarray) -> np.ndarray:
        """[n, m] their sum for a rater with these factors of own taste, trust and noise."""
        return self.taste(setting) + self.severity + setting[1] * self.trust

    def taste(self, setting: np.ndarray) -> np.ndarray:
        """[n, m] without severity and trust."""
        total = self.shared + setting[0] * self.own
        total[self.same] += self.image[0] + setting[2] * self.image[1]
        return total


@dataclass(frozen=True)
class Posterior:
    """What is believed of one rater after the evidence. `inflation` = how much larger the left-out errors were than expected."""

    model: TasteModel
    looks: Looks
    evidence: Evidence
    mixture: Mixture
    inflation: float

    def predict(self, looks: Looks, *, same: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of a new rating of each image, relative to the prior mean; [n] each.

        Args:
            looks: of n images.
            same: [n] index of the same image among those of the evidence, -1 if it is not among them.
        """
        settings, weights = self.mixture.settings, self.mixture.weights
        variance = self.model.variance(looks, settings) + self.model.noise * settings[:, 2:3]
        means = np.zeros_like(variance)
        if len(self.evidence):
            parts = self.model.covariance(looks, self.looks, same=same)
            for j, (setting, fit) in enumerate(zip(settings, self.mixture.fits, strict=True)):
                across = self.evidence.columns(parts.at(setting))
                means[j] = across @ fit.alpha
                variance[j] -= ((across @ fit.root.T) ** 2).sum(axis=1)
        mean = weights @ means
        variance = np.maximum(weights @ (variance + (means - mean) ** 2), 1e-9)
        return mean, np.sqrt(variance)

    def half_width(self, sd: np.ndarray) -> np.ndarray:
        """[n] standard deviations -> half widths of the 90 % interval."""
        ratings = int((~self.evidence.is_choice).sum())
        return Z90 * self.model.width(ratings) * np.sqrt(self.inflation) * sd

    def shares(self, looks: Looks, *, same: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """What each piece of evidence adds to the mean of `predict`, by part; [n, k] each, their sum over k and parts the mean."""
        out = {name: np.zeros((len(looks), len(self.evidence))) for name in ("severity", "crowd", "taste")}
        if not len(self.evidence):
            return out
        parts = self.model.covariance(looks, self.looks, same=same)
        severity = np.full_like(parts.own, parts.severity)
        for weight, setting, fit in zip(self.mixture.weights, self.mixture.settings, self.mixture.fits, strict=True):
            out["severity"] += weight * self.evidence.columns(severity) * fit.alpha
            out["crowd"] += weight * self.evidence.columns(setting[1] * parts.trust) * fit.alpha
            out["taste"] += weight * self.evidence.columns(parts.taste(setting)) * fit.alpha
        return out

    def joint(self, looks: Looks) -> tuple[np.ndarray, float]:
        """Posterior covariance of the images [n, n] at the most likely setting, and the variance of one rating there."""
        best = int(np.argmax(self.mixture.weights))
        setting = self.mixture.settings[best]
        covariance = self.model.covariance(looks, looks).at(setting) + np.eye(len(looks)) * self.model.crowd.own
        if len(self.evidence):
            across = self.evidence.columns(self.model.covariance(looks, self.looks).at(setting)) @ self.mixture.fits[best].root.T
            covariance -= across @ across.T
        return covariance, self.model.noise * float(setting[2])
