// The client, and everything that it calls back as one note each, fit for JSON.

export const listen = (Campanile, urls, { tokens, ...options }, note) => {
  // Returns one token after the other, and the last one again and again.
  const token = async () => {
    note({ token: tokens.length });
    return tokens.length > 1 ? tokens.shift() : tokens[0];
  };
  const client = new Campanile(urls, {
    ...options,
    ...(tokens && { token }),
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
