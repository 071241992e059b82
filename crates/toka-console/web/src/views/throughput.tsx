// What has come in a second, and how far each node is behind, since the page was opened.

import { useEffect, useMemo, useRef } from "preact/hooks";
import uPlot from "uplot";

import { count, short } from "../format";
import { Said } from "../parts/said";
import { rates, type Sample } from "../rates";
import type { Sampler } from "../sampler";
import { color } from "../theme";
import { useSampler } from "./nodes";

const HEIGHT = 200;
const COLORS = ["series-1", "series-2", "series-3", "series-4", "series-5", "series-6"];

interface Series {
  name: string;
  values: (number | null)[];
}

export function Throughput({ sampler, theme }: { sampler: Sampler; theme: string }) {
  useSampler(sampler);
  const { samples, failure } = sampler;
  if (samples.length === 0) return <Said failure={failure} isBusy>{null}</Said>;
  const nodes = [...new Set(samples.flatMap((sample) => [...sample.nodes.keys()]))].sort((one, other) => one - other);
  const times = samples.map((sample) => sample.at);
  const of = (pick: (node: { sequence: number; lag: number | null }) => number | null): Series[] =>
    nodes.map((id) => ({
      name: `node ${id}`,
      values: samples.map((sample) => {
        const node = sample.nodes.get(id);
        return node ? pick(node) : null;
      }),
    }));
  const charts: [string, string, Series[]][] = [
    [
      "Throughput",
      "in a second",
      [
        { name: "events", values: rates(samples, (sample: Sample) => sample.sequence) },
        { name: "commands", values: rates(samples, (sample: Sample) => sample.revision) },
      ],
    ],
    ["Position", "sequence of the last event that was applied", of((node) => node.sequence)],
    ["Lag", "entries behind the leader", of((node) => node.lag)],
  ];
  return (
    <>
      <h1>Throughput</h1>
      {failure && <Said failure={failure} />}
      <p class="muted">Asked for every two seconds while this page is seen, for half an hour at most. Prometheus keeps more: <code>/metrics</code>.</p>
      {charts.map(([title, unit, series]) => (
        <Chart key={title} title={title} unit={unit} times={times} series={series} theme={theme} />
      ))}
    </>
  );
}

interface ChartProps {
  title: string;
  unit: string;
  times: number[];
  series: Series[];
  theme: string;
}

function Chart({ title, unit, times, series, theme }: ChartProps) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const names = series.map((one) => one.name).join();
  const data = useMemo(() => [times, ...series.map((one) => one.values)] as uPlot.AlignedData, [times]);
  useEffect(() => {
    const inside = place.current;
    if (!inside) return;
    const drawn = new uPlot(options(series, inside.clientWidth), data, inside);
    plot.current = drawn;
    const watcher = new ResizeObserver(() => drawn.setSize({ width: inside.clientWidth, height: HEIGHT }));
    watcher.observe(inside);
    return () => {
      watcher.disconnect();
      drawn.destroy();
      plot.current = null;
    };
  }, [names, theme]);
  useEffect(() => plot.current?.setData(data), [data]);
  return (
    <section class="chart" aria-label={title}>
      <h2>{title} <small class="muted">{unit}</small> <small class="latest">{series.map(last).join(", ")}</small></h2>
      <div ref={place} class="plot" role="img" aria-label={`${title} over time`} />
    </section>
  );
}

function last({ name, values }: Series): string {
  const value = values.at(-1);
  return `${name} ${value === null || value === undefined ? "–" : count(Math.round(value * 10) / 10)}`;
}

function options(series: Series[], width: number): uPlot.Options {
  const axis = { stroke: color("muted"), grid: { stroke: color("line"), width: 1 }, ticks: { stroke: color("line"), width: 1 } };
  const shown = (_: uPlot, value: number | null) => (value === null ? "–" : count(Math.round(value * 10) / 10));
  return {
    width,
    height: HEIGHT,
    cursor: { y: false },
    scales: { x: { time: true }, y: { range: { min: { pad: 0, soft: 0, mode: 2 }, max: { pad: 0.1, soft: 1, mode: 2 } } } },
    axes: [axis, { ...axis, size: 56, values: (_, splits) => splits.map(short) }],
    series: [
      {},
      ...series.map(({ name }, index) => ({
        label: name,
        stroke: color(COLORS[index % COLORS.length] ?? "accent"),
        width: 2,
        value: shown,
        points: { show: series[index]?.values.length === 1 },
      })),
    ],
  };
}
