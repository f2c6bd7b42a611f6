"""Re-identification by a network: who of the people the attacker knows is in the released pictures?"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from benchmark.contracts import (
    Attack,
    AttackInfo,
    Context,
    Field,
    Links,
    NotApplicable,
    PositiveControl,
    Records,
    Resources,
    Scores,
    View,
)

if TYPE_CHECKING:
    from benchmark.learning.identity import Namer

__all__ = ["IdentityReidentification", "most_similar", "named_in"]


class IdentityReidentification(Attack):
    """Name the identities of released pictures with a network of the attacker's own.

    An identity is a patient where records have groups (pseudonyms), otherwise a record. The attacker knows pictures of
    every candidate. With ``training="candidates"`` the network learns to name the candidates' identities, and the
    similarity of a candidate to a released picture is the log probability of the candidate's identity there. With
    ``training="auxiliary"`` it learns to name the identities of auxiliary records, several visits each, and the
    similarity is the cosine between what its last layer sees of both pictures: it knows how people differ and has never
    seen these.

    - ``answer="scores"``: a candidate's score is its largest similarity to any released picture. A candidate is also
      flagged where it is the one most similar to some released picture, which is the name that the attacker would give
      that picture: of fresh people's pictures as many non-members are named as members.
    - ``answer="links"``: a candidate is linked to the released picture of the largest similarity, ties at random. The
      referee counts the links that hit, where a release keeps a correspondence to link to; releases in which k
      identities share equal pictures bound that by 1/k.

    References
    ----------
    Packhäuser, Gündel, Münster, Syben, Christlein & Maier (2022). Deep learning-based patient re-identification is able
    to exploit the biometric nature of medical chest X-ray data. Scientific Reports 12.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="identity_reidentification",
        version="2",
        summary="An identity network of the attacker's own names people in released pictures.",
        citation="after Packhäuser et al. (2022), Scientific Reports 12",
        kinds=frozenset({"image"}),
        auxiliary="with training=auxiliary, its identities train the network",
        resources=Resources(gpu=True),
    )

    answer: Literal["scores", "links"] = Field(
        "scores", description="membership scores, or a released picture for each candidate"
    )
    training: Literal["candidates", "auxiliary"] = Field(
        "candidates", description="whose identities the network learns to name"
    )
    epochs: int | None = Field(
        None, ge=1, description="of the network; by default 30 or enough for 400 steps"
    )

    def positive_controls(self) -> tuple[PositiveControl, ...]:
        """Members released as they are: nearly every score, or link, is right."""
        if self.answer == "links":
            return (
                PositiveControl(method="identity", metric="reidentification_rate", at_least=0.9),
            )
        return (PositiveControl(method="identity", metric="auc", at_least=0.9),)

    def run(
        self, view: View, candidates: Records, auxiliary: Records, context: Context
    ) -> Scores | Links:
        """Score or link every candidate.

        Raises
        ------
        NotApplicable
            Where the network would have fewer than two identities, or two pictures, to learn from.
        """
        assert view.records is not None  # granted, as info.needs asks for it
        shape = view.records.data.shape
        # Equal pictures are looked at once, so that their similarities tie exactly.
        pictures, which = np.unique(
            view.records.data.reshape(shape[0], -1), axis=0, return_inverse=True
        )
        images = pictures.reshape(-1, *shape[1:])
        if self.training == "candidates":
            similarity = self._named(images, candidates, context)
        else:
            similarity = self._matched(images, candidates, auxiliary, context)
        if self.answer == "scores":
            return Scores(values=similarity.max(axis=1), decisions=named_in(similarity))
        rng = context.rng("ties")
        return Links(released=most_similar(similarity, which.reshape(-1), rng))

    def _named(self, images: np.ndarray, candidates: Records, context: Context) -> np.ndarray:
        """Log probabilities ``(m, n)`` of each candidate's identity in each picture."""
        from benchmark.learning.identity import log_probabilities, number_identities

        namer = self._fit(candidates, context)
        named = log_probabilities(namer, images, context.device)
        return named[:, number_identities(candidates)].T

    def _matched(
        self, images: np.ndarray, candidates: Records, auxiliary: Records, context: Context
    ) -> np.ndarray:
        """Cosines ``(m, n)`` between what the network sees of each candidate and each picture."""
        from benchmark.learning.identity import unit_embeddings

        namer = self._fit(auxiliary, context)
        ours, theirs = (
            unit_embeddings(namer, x, context.device) for x in (candidates.data, images)
        )
        return ours @ theirs.T

    def _fit(self, records: Records, context: Context) -> Namer:
        from benchmark.learning.identity import fit_namer, number_identities

        known = number_identities(records)
        if len(known) == 0 or known.max() < 1:
            raise NotApplicable(
                "identity_reidentification learns to tell identities apart and needs two of them. Got "
                f"{len(set(known.tolist()))} among the {self.training}; raise their number in the suite."
            )
        return fit_namer(
            records.data,
            known,
            int(known.max()) + 1,
            epochs=self.epochs,
            weights_rng=context.torch_generator("weights"),
            training_rng=context.torch_generator("training"),
            device=context.device,
            progress=context.progress,
        )


def named_in(similarity: np.ndarray) -> np.ndarray:
    """Which candidates are the most similar to some picture, ``(m,) bool``; equals are named together.

    Parameters
    ----------
    similarity : ndarray of shape (m, n)
        Of candidates to pictures.
    """
    named: np.ndarray = (similarity == similarity.max(axis=0)).any(axis=1)
    return named


def most_similar(
    similarity: np.ndarray, picture_of_row: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """For each candidate a released row of the largest similarity, uniformly among equals.

    Parameters
    ----------
    similarity : ndarray of shape (m, n)
        Of candidates to distinct pictures.
    picture_of_row : ndarray of shape (n_released,), int64
        The distinct picture that each released row holds.
    rng : numpy Generator

    Returns
    -------
    ndarray of shape (m,), int64
    """
    of_rows = similarity[:, picture_of_row]
    tied = of_rows == of_rows.max(axis=1, keepdims=True)
    # A uniform ticket for each row: the tied row with the largest is a uniform choice among them.
    return np.where(tied, rng.random(of_rows.shape), -1.0).argmax(axis=1).astype(np.int64)
