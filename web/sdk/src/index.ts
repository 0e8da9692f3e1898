/** `@roomcast/client`: rooms over WebSocket, server-sent events or polling, with one cursor through all of it. */

export { Roomcast } from "./client.js";
export type { Unsubscribe } from "./emitter.js";
export { type ClientErrorCode, RoomcastError } from "./error.js";
export type { ClientEvents, ClientOptions, State, StateChange } from "./options.js";
export type { ChatMessage, Cursor, ErrorCode, EventFrame, Member, RecordChange, ServerEvents, User } from "./protocol.js";
export { type Joined, type PublishOptions, Room, type RoomOptions, type RoomState } from "./room.js";
export type { TransportName } from "./transport/link.js";
