"""Where things are in a foundation model, and how it is loaded."""

from light_peft.model.backbone import Backbone, check_length, count_block_parameters, count_parameters, describe
from light_peft.model.site import Kind, Port, Site

__all__ = ["Backbone", "Kind", "Port", "Site", "check_length", "count_block_parameters", "count_parameters", "describe"]
