"""Words of the board that a reader may not know, each explained in one place that every use of it leads to."""

from __future__ import annotations

__all__ = ["GLOSSARY"]

GLOSSARY: dict[str, tuple[str, str]] = {
    "method": (
        "Method, release",
        "A method makes a dataset safe to release; what it makes of the members is a release, and each row of "
        "a board is one. Its name stands with the parameters that tell it from its namesakes. `@image` and "
        "`@feature` behind a name say in which space it worked where it could have worked in both: "
        "`holdout@image` releases images, from which features are computed as for every other release. `+ "
        "gaussian_noise 2` means that the release was perturbed, with severity 2, before it was published. "
        "The name leads to a page with all figures of the row.",
    ),
    "member": (
        "Candidate, member, non-member",
        "Candidates are private records. For each a fair coin decides whether the method sees it (a member) "
        "or not (a non-member). Attacks have to tell which is which; nobody but the referee knows the coins.",
    ),
    "unit": (
        "Unit",
        "What one coin is tossed for, and what counts once: a record; all records of one person (an "
        "identity), where the dataset says who is who; or a set of equal records. An attack’s score of a unit "
        "is the mean over its records.",
    ),
    "verdict": (
        "Verdict",
        "What the figures of a row come to. Each verdict is explained under “How to read this”. Nearer means "
        "that members are closer to the release than chance, farther that they are farther: a filter by "
        "distance, say, tells them too.",
    ),
    "worst-case": (
        "Worst-case leak, AUC",
        "The AUC of an attack is the share of pairs of a member and a non-member in which it gives the member "
        "the higher score: 0.5 is chance, 1 is certainty. The worst case is the attack that does best against "
        "a release, in either direction. Its interval pays for having taken the worst. “Worst of 7 of 8” "
        "means that 8 attacks have scores on some row, and 7 of them on this one.",
    ),
    "rank": (
        "Rank by leak",
        "From the best to the worst place that the data leave open, 1 being the least leak. Methods are "
        "compared in pairs on the same candidates, at a stated error over all pairs. Controls and rows with "
        "missing cells have none.",
    ),
    "utility": (
        "Utility",
        "What a model that is trained on the release does on real test records; `linear_probe` is a logistic "
        "regression. “× of real” divides by the same after training on the members themselves.",
    ),
    "perturbed": (
        "Error when perturbed",
        "The balanced error on perturbed test records: the mean over severities, then over perturbations.",
    ),
    "tpr": (
        "TPR at 1 % FPR",
        "The share of members that an attack finds when it may be wrong about 1 % of the non-members. A false "
        "positive rate finer than one in the number of non-members is not resolvable, and no figure is given.",
    ),
    "epsilon": (
        "ε lower bound, δ",
        "No mechanism with a differential privacy of less ε would have let the attacks guess so well. “At "
        "most” is what every guess being right would have shown with these coins; a small bound with a small "
        "ceiling says little. δ = 0, and neighbouring datasets differ in one unit more or less. “If Gaussian” "
        "is tighter and assumes that the mechanism behaves like Gaussian noise.",
    ),
    "guarantee": (
        "Guarantee",
        "What the method itself claims: ε and δ of differential privacy with its accountant, or k of "
        "k-anonymity. A claimed ε is computed again by an accountant of the harness (“recomputed”) and held "
        "against what attacks measure at the claimed δ (“measured”).",
    ),
    "cost": (
        "Cost",
        "Time that the method took to fit on the members and to release, the mean over seeds.",
    ),
    "access": (
        "Access, what the attacker may use",
        "`records`: the released records alone. `sampler`: also as many new draws from the generator as it "
        "likes. `weights`: also the trained generator. `trainer`: also a part in the training of a model on "
        "the release, such as a participant in federated learning or the author of the training code; every "
        "release allows that. Each level includes those before it, and the worst case is taken over the "
        "attacks within the chosen one.",
    ),
    "front": (
        "Pareto front",
        "A row is on it when no other ranked row has at least its utility and at most its leak. “In 83 % of "
        "draws” is how often that is so when the figures are drawn anew from their intervals. Over several "
        "datasets the share is of those on which the row is ranked, and its interval says what the "
        "uncertainty of the figures leaves. It is about these datasets alone.",
    ),
    "interval": (
        "Interval",
        "Brackets are intervals at the confidence of the suite; each figure’s method is on the page of its "
        "release. DeLong is for AUC, Clopper–Pearson and Wilson for shares, a bootstrap draws anew, "
        "Bonferroni and Holm pay for several looks, and hierarchical counts the spread between seeds as well "
        "as the error within each.",
    ),
    "looks": (
        "Looks",
        "How many checks share the error that a control is allowed. The more looks, the farther from chance a "
        "figure must be to fail.",
    ),
    "control": (
        "Control",
        "A release whose answer is known. `holdout` releases fresh real records, so that every attack must be "
        "at chance; `identity` releases the members, so that attacks must succeed. An attack whose control "
        "fails is void: shown, struck through, and left out of the worst case.",
    ),
    "seed": (
        "Seed",
        "One whole game: candidates, coins and release of its own. The spread over seeds is from the least to "
        "the greatest.",
    ),
}
"""Title and text by the name that fragments have: ``#term-NAME``."""
