from ablation import VARIANTS

from ncf_pipeline.model.features.tables import FEATURES


def test_what_a_variant_is_without_are_features():
    assert {name for variant in VARIANTS for name in variant.without} <= set(FEATURES)
