/** What a job left in words: errors, output, what was captured, plan, code. */

import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { ICapture, IErrorGroup, IErrors, ILogPiece } from '../../api/types';
import * as format from '../../format';

/** Items that are named in a group before "and 12 more". */
const ITEMS = 8;
/** Pixels from the end at which new output still scrolls along. */
const NEAR = 24;

interface IErrorListProps {
  errors: IErrors;
  trans: TranslationBundle;
}

export function ErrorList({ errors, trans }: IErrorListProps): JSX.Element {
  const shown = errors.groups.reduce((sum, group) => sum + group.count, 0);
  return (
    <>
      {errors.groups.map(group => (
        <ErrorGroup key={`${group.type}: ${group.message}`} group={group} trans={trans} />
      ))}
      {shown < errors.total && (
        <p className="cb-Hint">
          {trans.__(
            'These are the first %1 of %2 failed items.',
            format.count(shown),
            format.count(errors.total)
          )}
        </p>
      )}
    </>
  );
}

interface IErrorGroupProps {
  group: IErrorGroup;
  trans: TranslationBundle;
}

function ErrorGroup({ group, trans }: IErrorGroupProps): JSX.Element {
  const more = group.count - Math.min(ITEMS, group.items.length);
  return (
    <details className="cb-Error">
      <summary>
        <span className="cb-Error-type">{group.type}</span>
        <span className="cb-Error-message">{group.message}</span>
        <span className="cb-Error-count">
          {trans._n('%2 item', '%2 items', group.count, format.count(group.count))}
        </span>
      </summary>
      {group.traceback !== '' && <pre className="cb-Text">{group.traceback}</pre>}
      <dl className="cb-Items" aria-label={trans.__('Items that failed so')}>
        {group.items.slice(0, ITEMS).map(({ index, item }) => (
          <div key={index}>
            <dt>{trans.__('item %1', index)}</dt>
            <dd>{item}</dd>
          </div>
        ))}
      </dl>
      {more > 0 && (
        <p className="cb-Hint">{trans.__('and %1 more', format.count(more))}</p>
      )}
    </details>
  );
}

/** What the items printed; follows the end as long as one does not scroll up. */
export function Log({ pieces }: { pieces: readonly ILogPiece[] }): JSX.Element {
  const box = React.useRef<HTMLPreElement>(null);
  const follows = React.useRef(true);
  React.useLayoutEffect(() => {
    if (box.current !== null && follows.current) {
      box.current.scrollTop = box.current.scrollHeight;
    }
  }, [pieces]);
  return (
    <pre
      ref={box}
      className="cb-Text cb-Log"
      // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable
      tabIndex={0}
      onScroll={({ currentTarget: at }) => {
        follows.current = at.scrollHeight - at.scrollTop - at.clientHeight < NEAR;
      }}
    >
      {pieces.map(piece => (
        <span
          key={piece.id}
          data-stream={piece.stream}
          title={piece.item === null ? undefined : `#${piece.item}`}
        >
          {piece.text}
        </span>
      ))}
    </pre>
  );
}

interface ICaptureProps {
  capture: ICapture;
  trans: TranslationBundle;
}

/** What travelled with the function, the largest first. */
export function Captured({ capture, trans }: ICaptureProps): JSX.Element {
  const values = [...(capture.values ?? [])].sort((a, b) => b.nbytes - a.nbytes);
  return (
    <>
      <p className="cb-Hint">
        {trans.__(
          'The function and small values: %1. Large values, sent once and shared: %2.',
          format.bytes(capture.payload_nbytes ?? 0),
          format.bytes(capture.blobs_nbytes ?? 0)
        )}
      </p>
      {values.length > 0 && (
        <table className="cb-Table">
          <thead>
            <tr>
              <th scope="col">{trans.__('Name')}</th>
              <th scope="col">{trans.__('Size')}</th>
              <th scope="col">{trans.__('How it travels')}</th>
            </tr>
          </thead>
          <tbody>
            {values.map(value => (
              <tr key={value.name}>
                <th scope="row" title={value.type}>
                  {value.name}
                </th>
                <td>{value.nbytes > 0 ? format.bytes(value.nbytes) : ''}</td>
                <td>{value.how}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </>
  );
}

export function Code({ text }: { text: string }): JSX.Element {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable
    <pre className="cb-Text cb-Code" tabIndex={0}>
      {text}
    </pre>
  );
}
