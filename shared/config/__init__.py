"""Reads the settings of a process from flags, environment, `.env` and `nija.toml`, and checks them.

Only composition roots (`app.py`) and the command line call `load_settings`; everything else is given what it
needs. The first wrong setting is a ConfigurationError that names the variable and what would be right; the value
of a secret is never repeated.
"""

from shared.config.broker_variables import master_prefix as master_prefix
from shared.config.errors import ConfigurationError as ConfigurationError
from shared.config.load import load_settings as load_settings
from shared.config.load import misspelt_variables as misspelt_variables
from shared.config.load import without_settings as without_settings
from shared.config.secrets import secrets_among as secrets_among
from shared.config.settings import Settings as Settings
from shared.config.stage import database_is_usable as database_is_usable
from shared.config.stage import redis_is_usable as redis_is_usable
from shared.config.stage import refuse_unusable_redis as refuse_unusable_redis
from shared.config.stage import set_up_log as set_up_log
from shared.config.stage import settings_of_stage as settings_of_stage
from shared.config.values import parse_broker as parse_broker
