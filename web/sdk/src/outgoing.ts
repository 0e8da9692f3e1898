/** Commands on their way: those that wait for an answer, and those that wait for a connection. Both are bounded. */

import { RoomcastError } from "./error.js";
import type { AckFrame, ClientFrame, ErrorFrame } from "./protocol.js";

interface Sent {
  readonly answered: (answer: AckFrame | RoomcastError) => void;
  readonly timer: ReturnType<typeof setTimeout>;
}

interface Waiting {
  readonly frame: ClientFrame & { type: "publish" };
  readonly resolve: (ack: AckFrame) => void;
  readonly reject: (error: RoomcastError) => void;
  readonly timer: ReturnType<typeof setTimeout>;
}

export class Outgoing {
  #next = 1;
  readonly #sent = new Map<number, Sent>();
  #waiting: Waiting[] = [];
  readonly #max: number;
  readonly #ttl: number;

  constructor(
    readonly ackTimeout: number,
    { max = 100, ttl = 60_000 }: { max?: number; ttl?: number } = {},
  ) {
    this.#max = max;
    this.#ttl = ttl;
  }

  /** Sends a command. `then` hears of the ack before anything that comes after it. */
  send(frame: ClientFrame, send: (text: string) => void, then?: (ack: AckFrame) => void): Promise<AckFrame> {
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      const answered = (answer: AckFrame | RoomcastError) => {
        clearTimeout(timer);
        this.#sent.delete(id);
        if (answer instanceof RoomcastError) return reject(answer);
        then?.(answer);
        resolve(answer);
      };
      const timer = setTimeout(() => answered(new RoomcastError("timeout", "The server did not answer in time.")), this.ackTimeout);
      this.#sent.set(id, { answered, timer });
      send(JSON.stringify({ ...frame, id }));
    });
  }

  acked(frame: AckFrame): void {
    this.#sent.get(frame.id)?.answered(frame);
  }

  failed(frame: ErrorFrame): void {
    if (frame.id !== undefined) this.#sent.get(frame.id)?.answered(new RoomcastError(frame.code, frame.message));
  }

  /** Keeps an event until its room is joined again. */
  wait(frame: ClientFrame & { type: "publish" }): Promise<AckFrame> {
    if (this.#waiting.length >= this.#max) {
      return Promise.reject(new RoomcastError("offline", `${this.#max} events wait for a connection already.`));
    }
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting = this.#waiting.filter((other) => other !== entry);
        reject(new RoomcastError("offline", "There was no connection for too long."));
      }, this.#ttl);
      const entry = { frame, resolve, reject, timer };
      this.#waiting.push(entry);
    });
  }

  /** Those that waited for a channel, in their order. */
  take(channel: string): Waiting[] {
    const taken = this.#waiting.filter(({ frame }) => frame.channel === channel);
    this.#waiting = this.#waiting.filter(({ frame }) => frame.channel !== channel);
    for (const { timer } of taken) clearTimeout(timer);
    return taken;
  }

  forget(channel: string, why = new RoomcastError("aborted", `${channel} was left.`)): void {
    for (const { reject } of this.take(channel)) reject(why);
  }

  /** The connection broke: what was sent may have arrived or not. */
  interrupted(): void {
    const unknown = new RoomcastError("unknown", "The connection broke before the answer; whether it was done is not known.");
    for (const { answered } of [...this.#sent.values()]) answered(unknown);
  }

  ended(why: RoomcastError): void {
    this.interrupted();
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { reject, timer } of waiting) {
      clearTimeout(timer);
      reject(why);
    }
  }
}
