/**
 * What this extension and the Python side say to each other, beside a cell's metadata.
 *
 * An empty, silent execute_request asks by a user expression: it leaves nothing in the notebook's
 * names and history, and it is answered before the cell that is sent after it.
 */

import type { Kernel, KernelMessage } from '@jupyterlab/services';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';

import type { Choice } from './choice';

/** As in `cloudbutton_magic.kernel.front_end_api`. */
export const PROTOCOL = 1;

const PACKAGE = 'cloudbutton_magic';
const MODULE = `${PACKAGE}.kernel.front_end_api`;

export type Answer =
  /** It will run there; `allowed` is false if the user did not agree to spend money. */
  | { readonly kind: 'ready'; readonly backend: string; readonly allowed: boolean }
  /** The kernel's Python has no Cloud Button, or one that this extension does not understand. */
  | { readonly kind: 'absent' | 'other version' }
  /** It refuses, in its own words. */
  | { readonly kind: 'refused'; readonly message: string }
  /** Nothing was asked: an earlier cell failed, or the kernel was interrupted or restarted. */
  | { readonly kind: 'aborted' };

export interface IPreparation {
  readonly choice: Choice;
  readonly cell_id: string;
  /** Backends that cost money, and that the user has agreed to. */
  readonly may_spend: readonly string[];
  /** Where the notebook is now: the kernel knows only how it was called when the kernel began. */
  readonly notebook: string;
}

/** Get the kernel ready for one execution of a pressed cell; sent before this returns. */
export async function prepare(
  kernel: Kernel.IKernelConnection,
  request: IPreparation,
  ask: (backend: string) => Promise<boolean>
): Promise<Answer> {
  const future = send(kernel, 'prepare', { ...request }, true);
  future.onStdin = async message => {
    const backend = askedFor(message);
    if (backend !== null) {
      const value = (await ask(backend)) ? 'yes' : 'no';
      if (!future.isDisposed) {
        future.sendInputReply(
          { status: 'ok', value },
          message.header as KernelMessage.IInputRequestMsg['header']
        );
      }
    }
  };
  return answerOf(await replyOf(future));
}

/** What `%%cloud --dry-run` shows of a cell, as a MIME bundle. */
export async function plan(
  kernel: Kernel.IKernelConnection,
  request: { readonly choice: Choice; readonly text: string }
): Promise<ReadonlyPartialJSONObject> {
  const reply = await replyOf(send(kernel, 'plan', { ...request }, false));
  const found = expressionOf(reply);
  if (found?.status === 'ok') {
    return found.data as ReadonlyPartialJSONObject;
  }
  throw new PlanError(answerOf(reply));
}

/** The kernel has no plan for a cell; `answer` says why. */
export class PlanError extends Error {
  constructor(readonly answer: Answer) {
    super(answer.kind === 'refused' ? answer.message : answer.kind);
    this.name = 'PlanError';
  }
}

/** A call of one of the module's functions, as a Python expression. */
export function expression(name: string, request: ReadonlyPartialJSONObject): string {
  // A JSON string is a Python string literal, too.
  const literal = JSON.stringify(JSON.stringify(request));
  return `__import__("${MODULE}", fromlist=["${name}"]).${name}(${literal})`;
}

/** Read the reply to `prepare`. */
export function answerOf(
  reply: KernelMessage.IExecuteReplyMsg['content'] | null
): Answer {
  const found = expressionOf(reply);
  if (found === null) {
    return { kind: 'aborted' };
  }
  if (found.status === 'error') {
    const message = `${found.evalue}`;
    switch (found.ename) {
      case 'ModuleNotFoundError':
        if (!message.includes(PACKAGE)) {
          return { kind: 'refused', message }; // what a backend needs is not installed
        }
        return { kind: message.includes(`'${PACKAGE}'`) ? 'absent' : 'other version' };
      case 'AttributeError':
      case 'ImportError':
        return { kind: 'other version' };
      default:
        return { kind: 'refused', message };
    }
  }
  const data = found.data as ReadonlyPartialJSONObject | undefined;
  const told = data?.['application/json'] as ReadonlyPartialJSONObject | undefined;
  if (told?.protocol !== PROTOCOL) {
    return { kind: 'other version' };
  }
  return { kind: 'ready', backend: `${told.backend}`, allowed: told.allowed === true };
}

/** The backend that the kernel asks about; null for a question that is not ours. */
export function askedFor(message: KernelMessage.IStdinMessage): string | null {
  if (message.header.msg_type !== 'input_request') {
    return null;
  }
  try {
    const { prompt } = message.content as KernelMessage.IInputRequestMsg['content'];
    const backend = JSON.parse(prompt)?.cloudbutton?.backend;
    return typeof backend === 'string' ? backend : null;
  } catch {
    return null;
  }
}

type Future = Kernel.IShellFuture<
  KernelMessage.IExecuteRequestMsg,
  KernelMessage.IExecuteReplyMsg
>;

function send(
  kernel: Kernel.IKernelConnection,
  name: string,
  request: ReadonlyPartialJSONObject,
  allow_stdin: boolean
): Future {
  return kernel.requestExecute({
    code: '',
    silent: true,
    store_history: false,
    stop_on_error: false,
    user_expressions: { cloudbutton: expression(name, request) },
    allow_stdin
  });
}

/** The reply, null if none comes any more. */
async function replyOf(
  future: Future
): Promise<KernelMessage.IExecuteReplyMsg['content'] | null> {
  try {
    return (await future.done)?.content ?? null;
  } catch {
    return null; // restarted, or the connection was closed
  }
}

function expressionOf(
  reply: KernelMessage.IExecuteReplyMsg['content'] | null
): ReadonlyPartialJSONObject | null {
  if (reply?.status !== 'ok') {
    return null;
  }
  const found = reply.user_expressions?.cloudbutton;
  return (found as ReadonlyPartialJSONObject | undefined) ?? null;
}
