/** A table of a list: its search, its columns to sort by, and its pages; with what there is to say when it is empty. */

import type { ComponentChildren, JSX } from "preact";

import { number } from "../base/figures.js";
import type { List } from "./list.js";

export interface Column<Item> {
  readonly name: string;
  readonly show: (item: Item) => ComponentChildren;
  readonly number?: boolean;
  /** The orders of the server, where it can sort by it. */
  readonly sorts?: readonly string[];
}

interface Props<Item> {
  readonly list: List<Item>;
  readonly caption: string;
  readonly search: string;
  readonly columns: readonly Column<Item>[];
  readonly keyOf: (item: Item) => string;
  readonly empty: ComponentChildren;
  readonly children?: ComponentChildren;
}

export function Table<Item>({ list, caption, search, columns, keyOf, empty, children }: Props<Item>): JSX.Element {
  const listed = list.listed.value;
  const { sort = "", search: searched = "" } = list.query.value;
  const filtered = Object.entries(list.query.value).some(([name, value]) => name !== "sort" && value !== "");
  const hold = (is: boolean) => () => {
    list.held.value = is;
    if (!is) list.soon();
  };
  return (
    <section class="card lists" aria-label={caption}>
      <div class="row">
        <input type="search" aria-label={search} placeholder={search} value={searched} onInput={(event) => list.ask({ search: event.currentTarget.value })} />
        {children}
      </div>
      {list.failed.value !== undefined && (
        <p class="error" role="alert">
          {list.failed.value}{" "}
          <button type="button" onClick={() => list.now()}>
            Try again
          </button>
        </p>
      )}
      {listed === undefined ? (
        list.failed.value === undefined && <p class="loading">Loading …</p>
      ) : listed.items.length === 0 ? (
        <div class="empty">{filtered ? <p>Nothing is like that.</p> : empty}</div>
      ) : (
        <div class="table-wrap">
          <table class="cards" onMouseEnter={hold(true)} onMouseLeave={hold(false)} onFocusIn={hold(true)} onFocusOut={hold(false)}>
            <caption>
              {number.format(listed.total)} {caption.toLowerCase()}
              {list.held.value ? " · held while you are in the table" : ""}
            </caption>
            <thead>
              <tr>
                {columns.map((column) => (
                  <Head key={column.name} column={column} sort={sort} ask={(to) => list.ask({ sort: to })} />
                ))}
              </tr>
            </thead>
            <tbody>
              {listed.items.map((item) => (
                <tr key={keyOf(item)}>
                  {columns.map((column) => (
                    <td key={column.name} class={column.number ? "number" : ""} data-label={column.name}>
                      {column.show(item)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {listed && (listed.next !== null || list.pages.value.length > 0) && (
        <div class="row">
          <button type="button" disabled={list.pages.value.length === 0} onClick={() => list.turn("first")}>
            First page
          </button>
          <button type="button" disabled={listed.next === null} onClick={() => list.turn("next")}>
            Next page
          </button>
          <span class="quiet small">Page {list.pages.value.length + 1}</span>
        </div>
      )}
    </section>
  );
}

function Head<Item>({ column, sort, ask }: { column: Column<Item>; sort: string; ask: (sort: string) => void }): JSX.Element {
  const { name, sorts } = column;
  if (!sorts) return <th scope="col" class={column.number ? "number" : ""}>{name}</th>;
  const at = sorts.indexOf(sort);
  const order = at < 0 ? "none" : sort.startsWith("-") ? "descending" : "ascending";
  return (
    <th scope="col" aria-sort={order} class={column.number ? "number" : ""}>
      <button type="button" onClick={() => ask(sorts[(at + 1) % sorts.length] as string)}>
        {name}
      </button>
    </th>
  );
}
