/** Timers by name: one of each, and a new one takes the place of the old. */

export class Timers<Name extends string> {
  readonly #running = new Map<Name, ReturnType<typeof setTimeout>>();

  has(name: Name): boolean {
    return this.#running.has(name);
  }

  after(name: Name, ms: number, then: () => void): void {
    this.stop(name);
    const timer = setTimeout(() => {
      this.#running.delete(name);
      then();
    }, ms);
    this.#running.set(name, timer);
  }

  stop(name: Name): void {
    clearTimeout(this.#running.get(name));
    this.#running.delete(name);
  }
}
