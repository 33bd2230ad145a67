"""The public names of RIL-Bench, and the module that each comes from."""

from .api.authors import check as check
from .api.authors import new as new
from .api.doctor import doctor as doctor
from .api.leaderboard import preview_submission as preview_submission
from .api.leaderboard import submit as submit
from .api.listing import list as list
from .api.notebook import Run as Run
from .api.previews import preview as preview
from .api.previews import preview_claim as preview_claim
from .api.previews import preview_grid as preview_grid
from .api.results import compare as compare
from .api.results import export as export
from .api.results import report as report
from .api.results import score as score
from .api.runs import demo as demo
from .api.runs import grid as grid
from .api.runs import run as run
from .api.studies import calibrate as calibrate
from .api.studies import reproduce as reproduce
from .api.studies import tune as tune
from .diagnosis.report import Diagnosis as Diagnosis
from .errors import NumericalError as NumericalError
from .errors import RilError as RilError
from .errors import UserError as UserError
from .methods import Consolidation as Consolidation
from .methods import Method as Method
from .methods import Plan as Plan
from .rewards.base import Reward as Reward
from .sequences.sequence_file import load_sequence as load_sequence
from .sequences.spec import Sequence as Sequence
from .studies.grid.axes import GridSpec as GridSpec
from .tuners.base import Log as Log
from .tuners.base import Tuner as Tuner

__version__: str
