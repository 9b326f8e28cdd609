select number
from ml.publication
