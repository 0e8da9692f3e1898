/** Elements, made in one expression. Text is set as text, so that what others have written is never markup. */

type Value = string | number | boolean | undefined | ((event: never) => void);
export type Child = Node | string | number | null | undefined | false;

/** `on…` names a listener; `true` and `false` are attributes that are there or not; all others are set as they are. */
export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Readonly<Record<string, Value>> = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined) continue;
    if (typeof value === "function") made.addEventListener(name.slice(2), value as EventListener);
    else if (typeof value === "boolean") made.toggleAttribute(name, value);
    else made.setAttribute(name, String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false).map((child) => (typeof child === "number" ? String(child) : (child as Node | string))));
  return made;
}

/** Text in which addresses are links. They are made of nodes, and of http and https alone. */
export function linked(text: string): Node[] {
  const nodes: Node[] = [];
  let at = 0;
  for (const found of text.matchAll(/https?:\/\/[^\s<>"']*[^\s<>"'.,;:!?)\]]/g)) {
    nodes.push(document.createTextNode(text.slice(at, found.index)));
    nodes.push(element("a", { href: found[0], rel: "noopener noreferrer", target: "_blank" }, found[0]));
    at = found.index + found[0].length;
  }
  nodes.push(document.createTextNode(text.slice(at)));
  return nodes;
}

/** Makes the children of an element those of a list, each under its key: what stays is not made anew, so that focus and
 * selection stay where they are. */
export function keep<Item>(
  parent: HTMLElement,
  items: readonly Item[],
  key: (item: Item) => string,
  make: (item: Item) => HTMLElement,
  update: (made: HTMLElement, item: Item) => void = () => {},
): void {
  const before = new Map([...parent.children].map((child) => [(child as HTMLElement).dataset["key"], child as HTMLElement]));
  let next = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let made = before.get(name);
    if (made) {
      before.delete(name);
    } else {
      made = make(item);
      made.dataset["key"] = name;
    }
    update(made, item);
    if (made === next) next = next.nextElementSibling;
    else parent.insertBefore(made, next);
  }
  for (const gone of before.values()) gone.remove();
}
