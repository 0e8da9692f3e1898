/** The frames of the wire protocol (docs/protocol.md), as this client reads and writes them. */

/** A position in the server's log: `{epoch}-{position}`. */
export type Cursor = string;

export interface User {
  readonly id: string;
  readonly name: string;
  readonly admin?: boolean;
}

/** Who is in a presence channel. */
export interface Member<Meta = unknown> {
  readonly user: User;
  readonly meta: Meta;
  readonly since: string;
}

export interface WelcomeFrame {
  readonly type: "welcome";
  readonly socket: string;
  readonly user: User | null;
  readonly channels: readonly string[];
  readonly cursor: Cursor;
  readonly recovered?: boolean;
  /** Seconds. */
  readonly heartbeat: number;
  readonly presence?: Readonly<Record<string, readonly Member[]>>;
  readonly presenceCounts?: Readonly<Record<string, number>>;
}

export interface EventFrame<Data = unknown> {
  readonly type: "event";
  readonly channel: string;
  readonly event: string;
  readonly data: Data;
  /** Absent from what is volatile. */
  readonly cursor?: Cursor;
  readonly time: string;
}

export interface HeartbeatFrame {
  readonly type: "heartbeat";
  readonly cursor: Cursor;
}

export interface AckFrame {
  readonly type: "ack";
  readonly id: number;
  readonly channel?: string;
  readonly cursor?: Cursor;
  readonly recovered?: boolean;
  readonly events?: readonly EventFrame[];
  readonly members?: readonly Member[];
  readonly count?: number;
  readonly left?: readonly string[];
}

export interface ErrorFrame {
  readonly type: "error";
  readonly id?: number;
  readonly code: ErrorCode;
  readonly message: string;
}

export interface DisconnectFrame {
  readonly type: "disconnect";
  readonly code: string;
  readonly message: string;
  readonly reconnect: boolean;
  /** Milliseconds. */
  readonly retry?: number;
}

export type ServerFrame = WelcomeFrame | EventFrame | HeartbeatFrame | AckFrame | ErrorFrame | DisconnectFrame;

export type ClientFrame =
  | { type: "join"; channel: string; cursor?: Cursor; meta?: unknown }
  | { type: "leave"; channel: string }
  | { type: "publish"; channel: string; event: string; data: unknown; volatile?: true; toSelf?: true }
  | { type: "presence"; channel: string; meta: unknown }
  | { type: "token"; token: string }
  | { type: "ping" };

/** What the server answers instead of an ack. */
export type ErrorCode =
  | "invalid-message"
  | "invalid-channel"
  | "invalid-event"
  | "unknown-type"
  | "unauthorized"
  | "forbidden"
  | "not-joined"
  | "too-many-channels"
  | "too-large"
  | "rate-limited"
  | "unavailable";

/** Whether a client comes back by itself after a close of a WebSocket: not after what is final. */
export function comesBack(code: number): boolean {
  const final = code === 1000 || code === 1002 || code === 1003 || (code >= 1007 && code <= 1009);
  return !final && !(code >= 4400 && code <= 4499);
}

/** Whether `a` is at or before `b`. Cursors of two logs cannot be compared: then it is not. */
export function covers(b: Cursor | undefined, a: Cursor | undefined): boolean {
  if (a === undefined || b === undefined) return false;
  const [epoch, position] = a.split("-");
  const [other, until] = b.split("-");
  return epoch === other && Number(position) <= Number(until);
}

/** What was said of a row that has changed. */
export interface RecordChange {
  readonly type: "Document" | "DocumentRoot" | "Group" | "User" | "UserPermission" | "GroupPermission" | "Room";
  readonly record: { readonly id: string } & Readonly<Record<string, unknown>>;
}

export interface ChatMessage {
  readonly id: string;
  readonly roomId: string;
  readonly user: User;
  readonly text: string;
  readonly createdAt: string;
  readonly editedAt: string | null;
}

/** The events that come from the server itself, by name. */
export interface ServerEvents {
  "new-record": RecordChange;
  "changed-record": RecordChange;
  "deleted-record": RecordChange;
  "changed-document": { readonly id: string; readonly data: unknown; readonly updatedAt: string };
  "chat-message": ChatMessage;
  "chat-message-changed": ChatMessage;
  "chat-message-deleted": { readonly id: string; readonly roomId: string };
  "connected-clients": {
    readonly type: "full" | "update";
    readonly rooms: readonly (readonly [channel: string, size: number])[];
    readonly count?: number;
  };
  "user-joined": Member;
  "user-updated": Member;
  "user-left": Member;
  "presence-count": { readonly count: number };
  "presence-list": { readonly members: readonly Member[] };
  "token-expiring": { readonly expiresAt: string; readonly inMs: number };
}
