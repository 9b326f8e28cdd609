-- a mapping that has read files with fractions of a piece
select sha256
from raw.used_mapping
where yaml ~ '(^|\n)fractional_quantities: true'
