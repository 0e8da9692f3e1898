/** Listeners by event: `on` returns what takes the listener away again. */

export type Unsubscribe = () => void;
export interface ListenOptions {
  /** Takes the listener away when it is aborted. */
  signal?: AbortSignal;
}

type Listener = (...args: never[]) => void;

export class Emitter {
  readonly #listeners = new Map<string, Set<Listener>>();

  add(event: string, listener: Listener, options?: ListenOptions): Unsubscribe {
    const signal = options?.signal;
    if (signal?.aborted) return () => {};
    let listeners = this.#listeners.get(event);
    if (!listeners) this.#listeners.set(event, (listeners = new Set()));
    // One of its own, so that the same function added twice is there twice.
    const own: Listener = (...args) => listener(...args);
    listeners.add(own);
    const remove = () => {
      listeners.delete(own);
      signal?.removeEventListener("abort", remove);
    };
    signal?.addEventListener("abort", remove);
    return remove;
  }

  /** Calls each listener. One that throws does not keep the others from hearing: it is reported as uncaught. */
  emit(event: string, ...args: unknown[]): void {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) {
      try {
        listener(...(args as never[]));
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
