"""The statistics every check uses: one plain function per name, plain dictionaries out.

Owns: estimates, intervals, tests and verdicts, with the exact edge cases that golden_stats.json fixes.
Knows: scipy and numpy, imported when a function that needs them is first called (they cost a second and 40 MB).
Does not know: the database.

Numbers that do not exist are None; infinities are the strings "Infinity" and "-Infinity", because results are stored as
JSON. The same arguments always give the same result.
"""

from evaluations.stats.attribution import attribute_change, burn_rate, mix_decomposition, stratified_rate
from evaluations.stats.distributions import (
    chi2_homogeneity,
    js_distance,
    ks_2samp,
    linf_distance,
    mann_whitney,
    psi_counts,
    psi_critical,
    psi_values,
    wasserstein,
)
from evaluations.stats.paired import (
    benjamini_hochberg,
    clustered_se,
    mcnemar_exact,
    paired_bootstrap_ci,
    paired_diff_ci,
    slice_regressions,
)
from evaluations.stats.quality import classification, cohen_kappa, ece, verdict_diff, verdict_rate_limit
from evaluations.stats.rates import (
    clopper_pearson_ci,
    fisher_exact,
    newcombe_diff_ci,
    rate_ratio,
    sample_size_two_prop,
    trials_to_see,
    two_proportion_z,
    upper_bound,
    wilson_ci,
)
from evaluations.stats.series import (
    counter_increase,
    cusum_onset,
    gesd,
    histogram_quantile,
    quantile_ci,
    quantiles,
    robust_z,
    sprt,
)

__all__ = [
    "attribute_change",
    "benjamini_hochberg",
    "burn_rate",
    "chi2_homogeneity",
    "classification",
    "clopper_pearson_ci",
    "clustered_se",
    "cohen_kappa",
    "counter_increase",
    "cusum_onset",
    "ece",
    "fisher_exact",
    "gesd",
    "histogram_quantile",
    "js_distance",
    "ks_2samp",
    "linf_distance",
    "mann_whitney",
    "mcnemar_exact",
    "mix_decomposition",
    "newcombe_diff_ci",
    "paired_bootstrap_ci",
    "paired_diff_ci",
    "psi_counts",
    "psi_critical",
    "psi_values",
    "quantile_ci",
    "quantiles",
    "rate_ratio",
    "robust_z",
    "sample_size_two_prop",
    "slice_regressions",
    "sprt",
    "stratified_rate",
    "trials_to_see",
    "two_proportion_z",
    "upper_bound",
    "verdict_diff",
    "verdict_rate_limit",
    "wasserstein",
    "wilson_ci",
]
