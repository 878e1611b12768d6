"""Advice on an autopilot's parameters, for people and as a file that ground stations load."""

from __future__ import annotations

from edge_runtime.autopilot_parameters import AutopilotAdvice, ParameterAdvice

_PX4_INTEGER, _PX4_REAL = 6, 9  # MAV_PARAM_TYPE of INT32 and REAL32


def advice_text(advice: AutopilotAdvice) -> str:
    """For people: a line a parameter with its reason, then the warnings."""
    width = max(len(parameter.name) for parameter in advice.parameters)
    lines = [advice.title, ""]
    for parameter in advice.parameters:
        value = f"{parameter.value_text} {parameter.unit}".rstrip()
        lines.append(f"{parameter.name:<{width}}  {value:<8}  {parameter.reason}")
        lines.append(f"{'':<{width}}  {'':<8}  [{parameter.source}]")
    lines += ["", "Before you fly:", *(f"- {warning}" for warning in advice.warnings)]
    return "\n".join(lines)


def parameter_file(advice: AutopilotAdvice) -> str:
    """A file that QGroundControl (PX4) or Mission Planner and MAVProxy (ArduPilot) load."""
    comments = [f"# {advice.title}", "# Compare before you write it: nothing here was flown."]
    comments += [f"# {warning}" for warning in advice.warnings]
    if advice.autopilot == "px4":
        comments.append("# Vehicle-Id Component-Id Name Value Type")
        rows = [
            f"1\t1\t{parameter.name}\t{_px4_value(parameter)}\t{_px4_type(parameter)}"
            for parameter in advice.parameters
        ]
    else:
        rows = [f"{parameter.name},{parameter.value_text}" for parameter in advice.parameters]
    return "\n".join([*comments, *rows]) + "\n"


def _px4_type(parameter: ParameterAdvice) -> int:
    return _PX4_INTEGER if isinstance(parameter.value, int) else _PX4_REAL


def _px4_value(parameter: ParameterAdvice) -> str:
    if isinstance(parameter.value, int):
        return str(parameter.value)
    return f"{parameter.value:.18f}"
