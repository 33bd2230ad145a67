"""The public names of RIL-Bench, and the module that each comes from."""

from .api.listing import list as list
from .api.notebook import Run as Run
from .api.verbs import compare as compare
from .api.verbs import report as report
from .api.verbs import run as run
from .api.verbs import submit as submit
from .diagnosis.diagnose import Diagnosis as Diagnosis
from .diagnosis.diagnose import doctor as doctor
from .errors import NumericalError as NumericalError
from .errors import RilError as RilError
from .errors import UserError as UserError
from .methods import Method as Method
from .methods import Plan as Plan
from .reporting.export import export as export
from .rewards.base import Reward as Reward
from .sequences.sequence_file import load_sequence as load_sequence
from .sequences.spec import Sequence as Sequence
from .studies.calibration import calibrate as calibrate
from .studies.grid.axes import GridSpec as GridSpec
from .studies.grid.grid import grid as grid
from .studies.tuning import tune as tune
from .tuners.base import Log as Log
from .tuners.base import Tuner as Tuner

__version__: str
