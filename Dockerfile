# The verifier as a container image: Node 24, the compiled service and its production packages, on a
# base without a shell or a package manager. docs/image.md says how to build, pin, run and check it.

FROM node:24.21.0-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc tsconfig.json tsconfig.build.json ./
RUN npm ci --ignore-scripts
COPY src src
RUN npm run build

# A stage of its own: it changes only with the lock file, and no development package can slip in.
FROM node:24.21.0-bookworm-slim AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev --ignore-scripts

# Distroless publishes no version tags: pin this one by digest (docs/image.md).
FROM gcr.io/distroless/nodejs24-debian12:nonroot
LABEL org.opencontainers.image.title="haproxy-entra-auth" \
      org.opencontainers.image.description="Microsoft Entra ID authentication for HAProxy: the verifier" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.documentation="docs/image.md" \
      org.opencontainers.image.base.name="gcr.io/distroless/nodejs24-debian12:nonroot"
WORKDIR /app
# In a container, loopback is nobody's address but its own. Beside HAProxy in one pod, set it back to
# 127.0.0.1.
ENV NODE_ENV=production ENTRA_AUTH_HOST=0.0.0.0
COPY --from=packages /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY package.json LICENSE ./
# By number, so that runAsNonRoot can be checked without looking into the image.
USER 65532:65532
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
# The flag is that of the first line of src/main.ts.
ENTRYPOINT ["/nodejs/bin/node", "--max-semi-space-size=4", "/app/dist/main.js"]
CMD ["serve"]
