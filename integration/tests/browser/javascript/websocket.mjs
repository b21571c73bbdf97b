// As much of a WebSocket as the client uses, for a Node that has none. It wants texts in one frame each.

import { randomBytes } from 'node:crypto';
import * as http from 'node:http';
import * as https from 'node:https';

const [TEXT, CLOSE, PING, PONG] = [1, 8, 9, 10];

export class WebSocket {
  onmessage = null;
  onclose = null;
  onerror = null;
  #request;
  #socket = null;
  #unread = Buffer.alloc(0);
  #close = { code: 1006, reason: '' };

  constructor(url, protocols) {
    this.url = url;
    const { request } = url.startsWith('wss:') ? https : http;
    this.#request = request(url.replace(/^ws/, 'http'), {
      headers: {
        Connection: 'Upgrade',
        Upgrade: 'websocket',
        'Sec-WebSocket-Version': '13',
        'Sec-WebSocket-Key': randomBytes(16).toString('base64'),
        'Sec-WebSocket-Protocol': [protocols].flat().join(', '),
      },
    });
    this.#request.on('upgrade', (_, socket, head) => this.#open(socket, head));
    this.#request.on('response', (response) => response.destroy());
    this.#request.on('error', () => this.onerror?.());
    this.#request.on('close', () => this.#socket ?? this.#ended());
    this.#request.end();
  }

  send(text) {
    this.#write(TEXT, Buffer.from(text));
  }

  close() {
    if (!this.#socket) return this.#request.destroy();
    this.#write(CLOSE, Buffer.of(0x03, 0xe8));
    this.#socket.end();
  }

  #open(socket, head) {
    this.#socket = socket;
    socket.on('error', () => this.onerror?.());
    socket.on('close', () => this.#ended());
    socket.on('data', (data) => this.#read(data));
    this.#read(head);
  }

  #ended() {
    this.onclose?.(this.#close);
  }

  #read(data) {
    this.#unread = Buffer.concat([this.#unread, data]);
    for (let frame; (frame = this.#takeFrame());) this.#take(frame);
  }

  /** The next frame, if all of it is there. RFC 6455 section 5.2; a server masks nothing. */
  #takeFrame() {
    const bytes = this.#unread;
    if (bytes.length < 2) return;
    let [length, start] = [bytes[1], 2];
    if (length > 125) {
      start = length === 126 ? 4 : 10;
      if (bytes.length < start) return;
      length = start === 4 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
    }
    if (bytes.length < start + length) return;
    this.#unread = bytes.subarray(start + length);
    return { head: bytes[0], payload: bytes.subarray(start, start + length) };
  }

  #take({ head, payload }) {
    switch (head) {
      case 0x80 | TEXT:
        return this.onmessage?.({ data: payload.toString() });
      case 0x80 | PING:
        return this.#write(PONG, payload);
      case 0x80 | PONG:
        return;
      case 0x80 | CLOSE:
        this.#close = { code: payload.length ? payload.readUInt16BE() : 1005, reason: payload.subarray(2).toString() };
        this.#write(CLOSE, payload);
        return this.#socket.end();
      default:
        throw new Error(`a frame that begins with ${head}`);
    }
  }

  #write(opcode, payload) {
    if (!this.#socket.writable) return;
    const length = payload.length <= 125 ? Buffer.of(payload.length) : Buffer.of(126, payload.length >> 8, payload.length);
    length[0] |= 0x80;
    const mask = randomBytes(4);
    const masked = payload.map((byte, index) => byte ^ mask[index % 4]);
    this.#socket.write(Buffer.concat([Buffer.of(0x80 | opcode), length, mask, masked]));
  }
}
