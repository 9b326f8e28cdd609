select certainty
from ml.publication
where number = %(number)s
