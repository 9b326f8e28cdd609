"""What a preview of a change of rules says, in a shop with the products 23000 to 23003 and 85123A."""

from datetime import date

from ncf_pipeline.serving.rules.previews import Example, Result

RESULT = Result(
    "p000014", "v14", date.today(), 10, 20_000, 1_000, 278, 90, 85, 3, 1, 2.0, 1.99,
    (
        Example("Netherlands", "customer", "for_you", ("23000", "23001"), ("85123A", "23000")),
        Example("23002", "product", "similar", ("23000",), ("23003",)),
        Example("*", "fallback", "for_you", ("23000", "23001"), ("23001",)),
    ),
)  # fmt: skip
