/** A server's end of web sockets, for tests: what was opened, sent and closed, and what to say. */

import type { Cursor, IChange } from '../src/api/types';

export class Socket {
  onopen: (() => void) | null = null;
  onclose: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  readyState: number = WebSocket.CONNECTING;
  readonly sent: unknown[] = [];

  constructor(readonly cursor: Cursor) {}

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }

  close(): void {
    this.readyState = WebSocket.CLOSED;
  }

  open(): void {
    this.readyState = WebSocket.OPEN;
    this.onopen?.();
  }

  say(change: IChange): void {
    this.onmessage?.({ data: JSON.stringify(change) });
  }

  /** The connection is lost, as when the server ends. */
  break(): void {
    this.readyState = WebSocket.CLOSED;
    this.onclose?.();
  }
}

export class Server {
  readonly sockets: Socket[] = [];

  readonly connect = (cursor: Cursor): WebSocket => {
    const socket = new Socket(cursor);
    this.sockets.push(socket);
    return socket as unknown as WebSocket;
  };

  /** The latest connection. */
  get socket(): Socket {
    return this.sockets[this.sockets.length - 1] as Socket;
  }

  /** Connections that are open or about to be. */
  get open(): number {
    return this.sockets.filter(socket => socket.readyState !== WebSocket.CLOSED).length;
  }
}
