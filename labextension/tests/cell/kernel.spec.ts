import type { KernelMessage } from '@jupyterlab/services';
import { expect, it } from 'vitest';

import { type Answer, answerOf, askedFor, expression } from '../../src/cell/kernel';

type Content = KernelMessage.IExecuteReplyMsg['content'];

function reply(cloudbutton: unknown): Content {
  return { status: 'ok', user_expressions: { cloudbutton } } as unknown as Content;
}

function failed(ename: string, evalue: string): Content {
  return reply({ status: 'error', ename, evalue });
}

function told(json: unknown): Content {
  return reply({ status: 'ok', data: { 'application/json': json } });
}

it('asks by a Python expression whose literal survives quotes, lines and other alphabets', () => {
  const request = { text: 'a = "\'\\n"\nb = "ä ☁"' };
  const code = expression('plan', request);
  expect(code).toContain(`.plan("{\\"text\\":`);
  const literal = code.slice(code.indexOf('.plan(') + 6, -1);
  expect(JSON.parse(JSON.parse(literal))).toEqual(request);
  expect(code).not.toContain('\n');
});

it.each<[string, Content | null, Answer]>([
  ['no reply', null, { kind: 'aborted' }],
  [
    'an abort after an earlier error',
    { status: 'aborted' } as unknown as Content,
    { kind: 'aborted' }
  ],
  [
    'a Python without it',
    failed('ModuleNotFoundError', "No module named 'cloudbutton_magic'"),
    { kind: 'absent' }
  ],
  [
    'an older version',
    failed(
      'ModuleNotFoundError',
      "No module named 'cloudbutton_magic.kernel.front_end_api'"
    ),
    { kind: 'other version' }
  ],
  [
    'a backend whose package is not installed',
    failed('ModuleNotFoundError', "No module named 'boto3'"),
    { kind: 'refused', message: "No module named 'boto3'" }
  ],
  ['a newer one', told({ protocol: 99 }), { kind: 'other version' }],
  [
    'a refusal',
    failed('UsageError', 'The cell is not Python.'),
    { kind: 'refused', message: 'The cell is not Python.' }
  ],
  [
    'readiness',
    told({ protocol: 1, backend: 'local', allowed: true }),
    { kind: 'ready', backend: 'local', allowed: true }
  ]
])('reads %s', (_, content, answer) => {
  expect(answerOf(content)).toEqual(answer);
});

it.each<[string, string | null]>([
  ['{"cloudbutton": {"backend": "lambda", "cell_id": "a"}}', 'lambda'],
  ['Your name? ', null],
  ['{"other": 1}', null]
])('takes only our own question for one: %s', (prompt, backend) => {
  const message = { header: { msg_type: 'input_request' }, content: { prompt } };
  expect(askedFor(message as unknown as KernelMessage.IStdinMessage)).toBe(backend);
});
