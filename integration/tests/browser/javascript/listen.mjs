// The client, and everything that it calls back as one note each, fit for JSON.

export const listen = (Campanile, urls, options, note) => {
  const client = new Campanile(urls, {
    ...options,
    onEvent: ({ id, to, content }) => {
      const shown = content instanceof Uint8Array ? [...content] : content;
      note({ event: shown, id, to, position: client.position });
    },
    onState: (state, detail) => note({ state, ...detail }),
    onGap: (gap) => note({ gap }),
    onGroups: (groups) => {
      const confirmed = [...groups.values()].filter(Boolean).length;
      note({ groups: { wanted: groups.size, confirmed } });
    },
    onError: (error) => note({ error }),
  });
  return client;
};
