"""Figures for report pages: matplotlib's, as SVG that follows the reader's light or dark mode."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from allocator.replay import Summary

COLOURS: Final = {"gcma": "#4096d2", "cma": "#dd6810", "carveout": "#8a949e"}
"""Blue, orange, grey: told apart with every common kind of colour blindness, on white and on black."""
INK: Final = "#010203"
"""Stands for the page's text colour until the SVG is written."""


def latencies(summaries: "Sequence[Summary]") -> str:
    """The part of requests that took at most so long, on a logarithmic scale; p50, p99 and maximum marked."""
    figure, axes = _figure()
    for summary in summaries:
        if not summary.latencies:
            continue
        total = sum(count for _, count in summary.latencies)
        times, parts, seen = [summary.latencies[0][0] / 1e3], [0.0], 0
        for time_ns, count in summary.latencies:
            seen += count
            times += [time_ns / 1e3] * 2
            parts += [parts[-1], 100 * seen / total]
        colour = COLOURS.get(summary.allocator, INK)
        axes.plot(times, parts, color=colour, linewidth=2, label=summary.allocator)
        marks = [(summary.p50_ns, 50, "o"), (summary.p99_ns, 99, "s"), (summary.max_ns, 100, "^")]
        for time_ns, part, marker in marks:
            axes.plot([time_ns / 1e3], [part], marker=marker, color=colour, markersize=7)
    axes.set(xscale="log", xlabel="modelled time of a request, µs", ylabel="requests at most so slow, %")
    axes.set_ylim(0, 103)
    legend = axes.legend(title="○ p50   □ p99   △ max", loc="lower right", frameon=False, labelcolor=INK)
    legend.get_title().set_color(INK)
    return _svg(figure)


def use(summaries: "Sequence[Summary]", area_pages: int) -> str:
    """How much of the area is in use over time: by devices, and in all."""
    figure, axes = _figure()
    for summary in summaries:
        colour = COLOURS.get(summary.allocator, INK)
        seconds = [sample.time_ns / 1e9 for sample in summary.samples]
        held = [100 * sample.held / area_pages for sample in summary.samples]
        every = [100 * (sample.held + sample.used) / area_pages for sample in summary.samples]
        axes.plot(seconds, every, color=colour, linewidth=1.6, label=f"{summary.allocator}, in all")
        axes.plot(
            seconds, held, color=colour, linewidth=1, linestyle=":", label=f"{summary.allocator}, devices"
        )
    axes.set(xlabel="seconds", ylabel="of the area in use, %")
    axes.set_ylim(0, 103)
    axes.legend(loc="upper right", frameon=False, labelcolor=INK, fontsize=8)
    return _svg(figure)


def _figure() -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.25)
    axes.tick_params(colors=INK)
    for spine in axes.spines.values():
        spine.set_color(INK)
        spine.set_alpha(0.3)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    return figure, axes


def _svg(figure: "Figure") -> str:
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return out.getvalue().replace(INK, "currentColor")
