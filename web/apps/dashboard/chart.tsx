/** One chart of the last minutes. A canvas inherits no styles, so the colours are read from the page, and again when they
 * change; who cannot see it gets the values as text, or as a table. */

import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";

import type { Sample } from "../base/figures.js";

export interface Line {
  readonly name: string;
  readonly value: (sample: Sample) => number | null;
}

interface Props {
  readonly title: string;
  readonly lines: readonly Line[];
  readonly show: (value: number | null) => string;
  /** Between what the scale counts, where that is not tens. */
  readonly steps?: readonly number[];
  readonly samples: readonly Sample[];
  /** Changes with the colours. */
  readonly scheme: string;
  /** Seconds that are shown. */
  readonly span: number;
}

const HEIGHT = 160;
const STROKES = ["--accent", "--warn"];

export function Chart({ title, lines, show, steps, samples, scheme, span }: Props): JSX.Element {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot>(undefined);
  useEffect(() => {
    const parent = place.current as HTMLDivElement;
    const style = getComputedStyle(document.documentElement);
    // A custom property is read as it was written; a colour that was set with it is computed.
    const colour = (name: string) => {
      parent.style.color = `var(${name})`;
      return getComputedStyle(parent).color;
    };
    const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: `12px ${style.fontFamily}` };
    const options: uPlot.Options = {
      width: Math.max(parent.clientWidth, 200),
      height: HEIGHT,
      padding: [10, 12, 0, 0],
      legend: { show: false },
      cursor: { show: false },
      scales: { y: { range: (_, __, most) => [0, most > 0 ? most * 1.15 : 1] } },
      axes: [
        { ...axis, size: 30, values: "{HH}:{mm}:{ss}", space: 80 },
        { ...axis, size: 66, ...(steps ? { incrs: [...steps] } : {}), values: (_, ticks) => ticks.map((tick) => show(tick)) },
      ],
      series: [{}, ...lines.map(({ name }, at) => ({ label: name, stroke: colour(STROKES[at] as string), width: 2, points: { show: false } }))],
    };
    chart.current = new uPlot(options, [[], ...lines.map(() => [])] as unknown as uPlot.AlignedData, parent);
    const resized = new ResizeObserver(() => chart.current?.setSize({ width: Math.max(parent.clientWidth, 200), height: HEIGHT }));
    resized.observe(parent);
    return () => {
      resized.disconnect();
      chart.current?.destroy();
    };
  }, [scheme]);
  useEffect(() => {
    const times = samples.map(({ time }) => Date.parse(time) / 1_000);
    const values = lines.map(({ value }) => samples.map(value));
    const end = times.at(-1) ?? 0;
    chart.current?.batch(() => {
      chart.current?.setData([times, ...values] as uPlot.AlignedData, false);
      chart.current?.setScale("x", { min: end - span, max: end });
    });
  }, [samples, scheme, span]);
  const last = samples.at(-1);
  const now = lines.map((line) => `${lines.length > 1 ? `${line.name} ` : ""}${show(last ? line.value(last) : null)}`).join(", ");
  return (
    <section class="card chart" aria-label={title}>
      <div class="spread">
        <h2>{title}</h2>
        <strong class="now">{now}</strong>
      </div>
      <div ref={place} role="img" aria-label={`${title}, the last ${Math.round(span / 60)} minutes; now ${now}`} />
      {lines.length > 1 && (
        <p class="quiet small legend">
          {lines.map(({ name }, at) => (
            <span key={name} class={`line l${at}`}>
              {name}
            </span>
          ))}
        </p>
      )}
    </section>
  );
}
