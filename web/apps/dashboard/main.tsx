/** The dashboard: how the server does, second by second, over server-sent events. */

import "uplot/dist/uPlot.min.css";
import "./dashboard.css";

import { signal } from "@preact/signals";
import { render, type JSX } from "preact";

import { denied } from "../base/denied.js";
import { Figures, type Sample, bytes, millis, number } from "../base/figures.js";
import { open } from "../base/page.js";
import { Chart, type Line } from "./chart.js";
import { News, listen } from "./news.js";

const SPANS: readonly [seconds: number, words: string][] = [
  [50, "50 seconds"],
  [300, "5 minutes"],
  [600, "10 minutes"],
];
/** Older than that, the newest sample is not how the server is now. */
const STALE = 4_000;

const samples = signal<readonly Sample[]>([]);
const span = signal(300);
const asTable = signal(false);
const now = signal(Date.now());
const dark = matchMedia("(prefers-color-scheme: dark)");
const scheme = signal(dark.matches ? "dark" : "light");
dark.addEventListener("change", () => (scheme.value = dark.matches ? "dark" : "light"));

const percent = (value: number | null) => (value === null ? "–" : `${number.format(value)} %`);
const plain = (value: number | null) => (value === null ? "–" : number.format(value));

interface Drawn {
  readonly title: string;
  readonly show: (value: number | null) => string;
  readonly steps?: readonly number[];
  readonly lines: readonly Line[];
}

const CHARTS: readonly Drawn[] = [
  { title: "CPU, of one core", show: percent, lines: [{ name: "CPU", value: ({ cpu }) => (cpu === null ? null : cpu * 100) }] },
  { title: "Memory", show: bytes, steps: Array.from({ length: 24 }, (_, at) => 2 ** (at + 16)), lines: [{ name: "Memory", value: ({ memoryBytes }) => memoryBytes }] },
  { title: "Requests a second", show: plain, lines: [{ name: "Requests", value: ({ requests }) => requests }] },
  { title: "Connections", show: plain, lines: [{ name: "Connections", value: ({ connections }) => connections }] },
  { title: "Events a second", show: plain, lines: [{ name: "delivered", value: ({ delivered }) => delivered }, { name: "told", value: ({ published }) => published }] },
  { title: "Delivery", show: millis, lines: [{ name: "p99", value: ({ latencyP99 }) => latencyP99 }, { name: "p50", value: ({ latencyP50 }) => latencyP50 }] },
];

function Dashboard(): JSX.Element {
  const shown = samples.value.slice(-span.value);
  const last = shown.at(-1);
  const age = last ? now.value - Date.parse(last.time) : 0;
  return (
    <>
      <div class="spread">
        <h1>Dashboard</h1>
        <div class="row">
          {age > STALE && <span class="state" data-state="warn">Last heard {Math.round(age / 1_000)} s ago</span>}
          <select aria-label="How far back" value={span.value} onChange={(event) => (span.value = Number(event.currentTarget.value))}>
            {SPANS.map(([seconds, words]) => (
              <option key={seconds} value={seconds}>
                {words}
              </option>
            ))}
          </select>
          <button type="button" aria-pressed={asTable.value} onClick={() => (asTable.value = !asTable.value)}>
            {asTable.value ? "Show charts" : "Show as table"}
          </button>
        </div>
      </div>
      <div class={age > STALE ? "figures stale" : "figures"}>
        {last === undefined ? <p class="loading">Loading …</p> : asTable.value ? <Values shown={shown} /> : CHARTS.map((chart) => <Chart key={chart.title} {...chart} samples={shown} scheme={scheme.value} span={span.value} />)}
      </div>
      <News />
    </>
  );
}

/** The same as text, a row for each of the last seconds. */
function Values({ shown }: { shown: readonly Sample[] }): JSX.Element {
  return (
    <section class="card table-wrap" tabIndex={0} aria-label="Values">
      <table>
        <caption>The newest first</caption>
        <thead>
          <tr>
            <th scope="col">Time</th>
            {CHARTS.flatMap(({ title, lines }) => lines.map(({ name }) => <th key={name} scope="col" class="number">{lines.length > 1 ? `${title}: ${name}` : title}</th>))}
          </tr>
        </thead>
        <tbody>
          {[...shown].reverse().slice(0, 50).map((sample) => (
            <tr key={sample.time}>
              <th scope="row">{new Date(sample.time).toLocaleTimeString()}</th>
              {CHARTS.flatMap(({ lines, show }) => lines.map(({ name, value }) => <td key={name} class="number">{show(value(sample))}</td>))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

// Push only is all that it needs, and the way through every proxy.
const { main, client, me } = await open({ transports: ["sse", "polling"] });
if (me.admin) {
  listen(client);
  const figures = new Figures(client, () => {
    samples.value = figures.samples;
    now.value = Date.now();
  });
  setInterval(() => (now.value = Date.now()), 1_000);
  render(<Dashboard />, main);
} else {
  main.replaceChildren(denied(me.name));
}
