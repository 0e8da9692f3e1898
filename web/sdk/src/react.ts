/** `@roomcast/client/react`: the connection, a room, its events and who is there, as hooks. */

import { createContext, createElement, type ReactNode, useCallback, useContext, useEffect, useRef, useSyncExternalStore } from "react";

import type { EventFrame, Member, Room, Roomcast, RoomOptions, RoomState, ServerEvents, State } from "./index.js";

const Client = createContext<Roomcast | null>(null);

export function RoomcastProvider({ client, children }: { client: Roomcast; children?: ReactNode }) {
  return createElement(Client.Provider, { value: client }, children);
}

export function useRoomcast(): Roomcast {
  const client = useContext(Client);
  if (!client) throw new Error("There is no <RoomcastProvider> around this component.");
  return client;
}

/** The state of the connection. */
export function useConnection(): State {
  const client = useRoomcast();
  const subscribe = useCallback((then: () => void) => client.on("state", then), [client]);
  const state = () => client.state;
  return useSyncExternalStore(subscribe, state, state);
}

/** A room, joined while the component is there; `null` for none. Many components may use the same one. */
export function useRoom<Events extends object = ServerEvents>(channel: string | null, options?: RoomOptions): Room<Events> | null {
  const client = useRoomcast();
  const room = channel === null ? null : client.room<Events>(channel, options);
  useEffect(() => {
    if (!room) return;
    room.join().catch(() => {});
    // Not at once: under StrictMode, and from one page to the next, the same room is joined again in a moment.
    return () => void setTimeout(() => room.leave(), 0);
  }, [room]);
  return room;
}

function useWatched<T>(room: Room<never> | null, read: () => T): T {
  const subscribe = useCallback((then: () => void) => room?.watch(then) ?? (() => {}), [room]);
  return useSyncExternalStore(subscribe, read, read);
}

export function useRoomState(room: Room<never> | Room<ServerEvents> | null): RoomState {
  return useWatched(room as Room<never> | null, () => room?.state ?? "idle");
}

/** Hears an event as long as the component is there; the newest `listener` is called. */
export function useRoomEvent<Events extends object, Name extends keyof Events & string>(
  room: Room<Events> | null,
  event: Name,
  listener: (data: Events[Name], frame: EventFrame<Events[Name]>) => void,
): void {
  const newest = useRef(listener);
  useEffect(() => {
    newest.current = listener;
  });
  useEffect(() => room?.on(event, (data, frame) => newest.current(data, frame)), [room, event]);
}

const NOBODY: readonly Member[] = [];

/** Who is in a presence channel. */
export function usePresence(channel: string | null, meta?: unknown): readonly Member[] {
  const room = useRoom<never>(channel, meta === undefined ? undefined : { meta });
  return useWatched(room, () => room?.members ?? NOBODY);
}
